#!/usr/bin/env python3
"""Measure mica beside its peers in one run.

    bench/run.py BUILD [--quick] [--rounds N] [--threads 1,2] [--dtype float32,bf16] [--peers TEXT]
                 [--list] [WORKLOAD | WORKLOAD/PHASE]...

All sides of a workload keep a process alive and take turns, so that whatever else the machine does
meets all of them. Each turn gives a ratio of medians; the table shows the median over the turns and its
range. A peer gets the fastest of its settings, found out before the turns.

Peers: every python that has PyTorch: /usr/bin/python3 (Debian's), those of MICA_BENCH_PYTHON (separated
by colons), and BUILD/bench/python, which scripts/bench_peers makes with the newest release. Generating is
also measured beside llama.cpp, where one of these or BUILD/bench/llama has it: `scripts/bench_peers BUILD
llama` builds it there, for this processor, in about ten minutes.

BUILD/bench/results.json gets a list of {workload, phase, dtype, threads, peer, ratio, mica, other, unit,
limit_fraction}, and low, high (the ratio's range over the turns), setting (the peer's fastest),
other_limit_fraction. A ratio above 1 says how many times faster mica is; in rows whose unit is MiB, MB or
a count it is mica's figure over the other's, so that less is better. A run of some workloads replaces
their rows and keeps the others.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile

from workloads import WORKLOADS

HERE = os.path.dirname(os.path.abspath(__file__))
TURN = 0.6  # seconds


def plain_environment():
    """Without what would tell one side's threads how to behave."""
    return {k: v for k, v in os.environ.items()
            if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")}


class Side:
    """A process that repeats one workload."""

    def __init__(self, command):
        self.command = command
        self.errors = tempfile.TemporaryFile("w+")  # a pipe that nobody empties would stop it
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors, text=True, env=plain_environment())
        self.name = self.process.stdout.readline().strip()
        if not self.name:
            self.close()
            raise RuntimeError(self.last_error())
        self.repetitions, self.times = 1, []

    def again(self):
        """The same, started anew."""
        side = Side(self.command)
        side.setting, side.repetitions = self.setting, self.repetitions
        side.turn(2)
        return side

    def ask(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError(self.last_error())
        return answer.split()

    def last_error(self):
        self.errors.seek(0)
        lines = self.errors.read().strip().splitlines()
        return lines[-1] if lines else "%s ended early" % " ".join(self.command)

    def turn(self, repetitions):
        return [float(x) for x in self.ask("run %d" % repetitions)]

    def warm_up(self, seconds):
        """Until its times have settled; then as many repetitions as fill a turn."""
        times = self.turn(2)
        while sum(times) < 400 * seconds / TURN and len(times) < 200:
            times += self.turn(2)
        self.repetitions = max(1, min(2000, int(seconds * 1000 / min(times))))
        return self

    def memory(self):
        """Mebibytes at most, above what there was before the workload was made."""
        before, _, most = (int(x) for x in self.ask("memory"))
        return (most - before) / 1024

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def pythons(build, module="torch"):
    """Interpreters that have a module, the newest release last, with their versions."""
    found = {}
    places = ["/usr/bin/python3"] + os.environ.get("MICA_BENCH_PYTHON", "").split(":")
    places += [os.path.join(build, "bench", folder, "bin", "python") for folder in ("python", "llama")]
    for python in filter(None, places):
        try:
            out = subprocess.run([python, "-c", "import %s as m; print(m.__version__)" % module],
                                 capture_output=True, text=True)
        except OSError:
            continue
        if out.returncode == 0:
            found.setdefault(out.stdout.strip(), python)
    return sorted(found.items(), key=lambda x: [int(n) for n in x[0].split("+")[0].split(".")[:2]])


def command_of(program, w, dtype, threads, flags=()):
    command = program + [w.name, w.phase, "--threads", str(threads), *flags]
    if w.batch:
        command += ["--batch", str(w.batch)]
    return command + (["--bf16"] if dtype == "bf16" else [])


def fastest(program, w, dtype, threads, settings, seconds):
    """The peer's fastest setting, as a running process that is warm; None: none runs."""
    best = None
    kinds = ["float32", "bf16"] if dtype == "bf16" else ["float32"]  # its best type
    for kind in kinds:
        for flags in settings:
            try:
                side = Side(command_of(program, w, kind, threads, flags)).warm_up(seconds / 2)
                took = statistics.median(side.turn(side.repetitions))
            except (RuntimeError, ValueError) as error:
                print("  (%s %s: %s)" % (program[-1], " ".join(flags), error), flush=True)
                continue
            side.setting = " ".join(flags + (["--bf16"] if kind == "bf16" else []))
            side.repetitions *= 2
            if w.large:
                side.close()  # one at a time: the best is started again
            if best is None or took < best[0]:
                if best and not w.large:
                    best[1].close()
                best = (took, side)
            elif not w.large:
                side.close()
    return best[1].again() if best and w.large else best[1] if best else None


def wanted_peer(o, name):
    return re.search(o.peers, name) is not None


def rivals(o, w, dtype, threads, seconds):
    """The running peers of a workload, one after the other: (name, side)."""
    own = [os.path.join(o.build, "bench", "bench")]
    if dtype == "bf16" and wanted_peer(o, "mica float32"):
        yield "mica float32", Side(command_of(own, w, "float32", threads)).warm_up(seconds)
    if threads > 1 and wanted_peer(o, "mica 1 thread"):
        yield "mica 1 thread", Side(command_of(own, w, dtype, 1)).warm_up(seconds)
    program = os.path.join(HERE, "peer", w.program)
    places = o.pythons if w.python == "torch" else [("", "/usr/bin/python3")]
    for version, python in places if w.program else []:
        for settings, compiled in ((w.settings, False), (w.compiled, True)):
            if compiled and version.startswith("1."):
                continue  # before version 2 a trace is one of the settings
            label = "PyTorch " + version.split("+")[0] + (" compiled" if compiled else "")
            if version and not wanted_peer(o, label):
                continue
            more = w.compiled if not compiled and version.startswith("1.") and w.phase == "infer" else []
            side = fastest([python, program], w, dtype, threads, settings + more, seconds) if settings else None
            name = side.name + (" compiled" if compiled else "") if side else ""
            if side and wanted_peer(o, name):
                yield name, side
            elif side:
                side.close()
    if w.other and dtype == "float32":
        module, program, settings = w.other
        found = pythons(o.build, module)
        if not found:
            print("no %s here (scripts/bench_peers %s llama): without it" % (module, o.build), flush=True)
        for _, python in found[-1:]:
            command = [python, os.path.join(HERE, "peer", program)]
            side = fastest(command, w, dtype, threads, settings, seconds)
            if side and wanted_peer(o, side.name):
                yield side.name, side
            elif side:
                side.close()


def make_files(folder):
    """The files that some workloads read; both sides find them by the environment. False: none."""
    os.environ["MICA_BENCH_FILES"] = folder
    os.makedirs(folder, exist_ok=True)
    maker = os.path.join(HERE, "peer", "make_files.py")
    return subprocess.run(["/usr/bin/python3", maker, folder]).returncode == 0


def measure(o, w, dtype, threads, limits):
    seconds = TURN / 3 if o.quick else TURN
    own = Side(command_of([os.path.join(o.build, "bench", "bench")], w, dtype, threads)).warm_up(seconds)
    others = rivals(o, w, dtype, threads, seconds)
    rows = []
    if w.large:
        for other in others:
            rows += compare(o, w, dtype, threads, limits, own, [other])
    rows = rows or compare(o, w, dtype, threads, limits, own, list(others))
    rows += hook_rows(o, w, dtype, threads, own)
    own.close()
    return rows


def compare(o, w, dtype, threads, limits, own, sides):
    """Turns of ours and the others, which are closed then."""
    everyone = [("mica", own)] + sides
    own.times = []
    ratios = {name: [] for name, _ in sides}
    for turn in range(o.rounds):
        medians = {}
        for name, side in list(everyone if turn % 2 else everyone[::-1]):
            try:
                times = side.turn(side.repetitions)
            except RuntimeError as error:
                if side is own:
                    raise
                print("  (%s: %s)" % (name, error), flush=True)
                everyone.remove((name, side))
                sides.remove((name, side))
                continue
            side.times += times
            medians[name] = statistics.median(times)
        for name, _ in sides:
            ratios[name].append(medians[name] / medians["mica"])
    rows = []
    mine = statistics.median(own.times)
    for name, side in sides or [("", None)]:
        row = {"workload": w.name, "phase": w.title, "dtype": dtype, "threads": threads, "peer": name,
               "ratio": None, "mica": rate(w, mine), "other": None, "unit": w.unit,
               "limit_fraction": fraction(w, mine, limits)}
        if side:
            theirs = statistics.median(side.times)
            row.update(ratio=statistics.median(ratios[name]), low=min(ratios[name]),
                       high=max(ratios[name]), other=rate(w, theirs),
                       other_limit_fraction=fraction(w, theirs, limits))
            if getattr(side, "setting", ""):
                row["setting"] = side.setting
        rows.append(row)
    if w.memory:
        rows += memory_rows(w, dtype, threads, own, sides)
    for _, side in sides:
        side.close()
    return rows


def rate(w, milliseconds):
    return 1e3 * w.examples / milliseconds


def fraction(w, milliseconds, limits):
    """Of the machine's rate; None: no limit is known."""
    if w.flop and limits.get("gemm"):
        return w.flop / milliseconds / 1e6 / limits["gemm"]
    if w.bytes and limits.get("stream"):
        return w.bytes / milliseconds / 1e6 / limits["stream"]
    return None


def memory_rows(w, dtype, threads, own, sides):
    mine = own.memory()
    return [{"workload": w.name, "phase": w.title + " peak memory", "dtype": dtype, "threads": threads,
             "peer": name, "ratio": mine / side.memory(), "mica": mine, "other": side.memory(),
             "unit": "MiB", "limit_fraction": None}
            for name, side in sides if not name.startswith("mica")]


def hook_rows(o, w, dtype, threads, own):
    """Allocations of a step: through the library's hooks, and of all libraries in the process."""
    own.ask("hooks")
    own.turn(5)
    rows = [("allocations", int(own.ask("hooks")[0]) / 5, "calls of our hooks a step")]
    counter = os.path.abspath(os.path.join(o.build, "bench", "count_mallocs.so"))
    if os.path.exists(counter):
        program = ["env", "LD_PRELOAD=" + counter, os.path.join(o.build, "bench", "bench")]
        side = Side(command_of(program, w, dtype, threads))
        side.turn(5)
        side.ask("mallocs")
        side.turn(5)
        rows.append(("mallocs", int(side.ask("mallocs")[0]) / 5, "allocations of the process a step"))
        side.close()
    return [{"workload": w.name, "phase": w.title + " " + what, "dtype": dtype, "threads": threads,
             "peer": "", "ratio": None, "mica": value, "other": None, "unit": unit, "limit_fraction": None}
            for what, value, unit in rows]


def find_limits(o, dtype, threads):
    """GFLOP/s of the matrix product in this type, GB/s of the memory: the best of several turns."""
    program = [os.path.join(o.build, "bench", "bench")]
    limits = {}
    for name, work in (("gemm", 2 * 2048 ** 3), ("stream", 12 * (48 << 20))):
        command = program + [name, "run", "--threads", str(threads)]
        side = Side(command + (["--bf16"] if dtype == "bf16" and name == "gemm" else []))
        side.turn(3)
        limits[name] = work / min(side.turn(10)) / 1e6
        side.close()
    return limits


def short(ratio):
    return ("%.2f" if ratio >= 0.1 else "%.4f") % ratio


def show(row):
    mica = "%10.4g" % row["mica"]
    line = "%-14s %-20s %-7s %d  %s %s" % (row["workload"], row["phase"], row["dtype"], row["threads"],
                                          mica, row["unit"])
    if row["limit_fraction"]:
        line += "  %3.0f %% of limit" % (100 * row["limit_fraction"])
    if row["ratio"] is not None:
        line += "   %-24s %10.4g  ratio %s" % (row["peer"], row["other"], short(row["ratio"]))
        if "low" in row:
            line += " (%.2f to %.2f)" % (row["low"], row["high"])
        if row.get("other_limit_fraction"):
            line += " %3.0f %%" % (100 * row["other_limit_fraction"])
        if row.get("setting"):
            line += "  " + row["setting"]
    print(line, flush=True)


def key(row):
    return tuple(row[k] for k in ("workload", "phase", "dtype", "threads", "peer"))


def save(path, rows):
    """Add the rows to those of earlier runs, in the place of the same ones."""
    try:
        with open(path) as file:
            kept = json.load(file)
    except (OSError, ValueError):
        kept = []
    fresh = {key(r) for r in rows}
    with open(path + ".tmp", "w") as file:
        json.dump([r for r in kept if key(r) not in fresh] + rows, file, indent=1)
    os.replace(path + ".tmp", path)


def wanted(w, names):
    return not names or any(n in (w.name, "%s/%s" % (w.name, w.title)) for n in names)


def arguments():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].strip())
    parser.add_argument("build")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--quick", action="store_true", help="short turns, three of them, and float32 alone")
    parser.add_argument("--rounds", type=int, default=0, help="turns (5)")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--dtype", default="", help="float32,bf16")
    parser.add_argument("--peers", default="", help="only those whose name has this (a regular expression)")
    parser.add_argument("--list", action="store_true", help="name the workloads")
    o = parser.parse_intermixed_args()
    o.rounds = o.rounds or (3 if o.quick else 5)
    o.dtype = o.dtype or ("float32" if o.quick else "float32,bf16")
    return o


def main():
    o = arguments()
    chosen = [w for w in WORKLOADS if wanted(w, o.names)]
    if o.list or not chosen:
        print("\n".join("%s/%s" % (w.name, w.title) for w in WORKLOADS))
        sys.exit(0 if o.list else "bench: no workload is called %s" % " or ".join(o.names))
    o.pythons = pythons(o.build)
    for version, python in o.pythons:
        print("PyTorch %s: %s" % (version, python))
    if not o.pythons:
        print("no PyTorch here (package python3-torch, or scripts/bench_peers): mica alone")
    if any(w.files for w in chosen) and not make_files(os.path.abspath(os.path.join(o.build, "bench", "files"))):
        print("no files to read (packages python3-pil, python3-numpy): without the workloads of the data path")
        chosen = [w for w in chosen if not w.files]
    path = os.path.join(o.build, "bench", "results.json")
    for threads in (int(x) for x in o.threads.split(",")):
        for dtype in o.dtype.split(","):
            limits = find_limits(o, dtype, threads)
            print("%d threads, %s: gemm %.0f GFLOP/s, stream %.1f GB/s"
                  % (threads, dtype, limits["gemm"], limits["stream"]), flush=True)
            for w in chosen:
                if dtype == "bf16" and not w.bf16:
                    continue
                rows = measure(o, w, dtype, threads, limits)
                for row in rows:
                    show(row)
                save(path, rows)
    print("figures: " + path)


if __name__ == "__main__":
    main()
