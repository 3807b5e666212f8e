#!/usr/bin/env python3
"""From the start of a program to its end: it loads a model file, embeds a picture, and prints a number.

    bench/start.py BUILD [BUILD]...          e.g. build build-embedded

Warm, the files are in the system's cache; cold, the program, its libraries and the model are dropped
from there before each start (but what other programs have mapped, the C library above all). Each
build's bench/start and, where there is a python with PyTorch, the same network there, take turns; the
table shows medians. The rows are added to the first build's results.json, in milliseconds: less is
better, and a ratio above 1 says how many times faster mica is.
"""
import glob
import os
import statistics
import subprocess
import sys
import time

from closure import closure, forget, torch_libraries, torch_package
from run import HERE, plain_environment, pythons, save

NETWORKS = [("resnet8", "resnet:depth=8", 28, 1), ("vit-tiny", "vit:patch=4:dim=192:depth=12:heads=3", 32, 3)]
TURNS, COLD_TURNS = 15, 5


def milliseconds(command):
    begin = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, env=plain_environment())
    return (time.perf_counter() - begin) * 1e3


def take_turns(commands, turns, files=None):
    """Milliseconds of each, the first turn left out; files: what each forgets before it starts."""
    times = {k: [] for k in commands}
    for turn in range(max(turns.values()) + 1):
        for who, command in commands.items():
            if turn <= turns[who]:
                if files:
                    forget(files[who])
                times[who].append(milliseconds(command))
    return {who: t[1:] for who, t in times.items()}


def make(name, model, side, channels, builds, peers):
    """The model of each side: its command, and the files that it reads."""
    folder = os.path.join(builds[0], "bench")
    path = os.path.join(folder, name + ".mica")
    subprocess.run([os.path.join(folder, "start"), "make", model, str(side), str(channels), path], check=True)
    commands, files = {}, {}
    for b in builds:
        program = os.path.join(b, "bench", "start")
        commands["mica " + b], files["mica " + b] = [program, path], closure(program) + [path]
    for version, python in peers:
        label = "PyTorch " + version.split("+")[0]
        weights = os.path.join(folder, "%s-%s.pt" % (name, version.split("+")[0]))
        commands[label] = [python, os.path.join(HERE, "peer", "torch_start.py"), name, weights]
        subprocess.run(commands[label] + ["--make"], check=True)
        package = glob.glob(os.path.join(torch_package(python), "**", "*.py*"), recursive=True)
        files[label] = torch_libraries(python) + [weights] + [p for p in package if os.path.isfile(p)]
    for f in {p for every in files.values() for p in every}:
        if f.endswith((".pt", ".mica")):
            with open(f) as file:
                os.fsync(file.fileno())  # only what is on the disk can leave the cache
    return commands, files


def measure(name, model, side, channels, builds, peers):
    commands, files = make(name, model, side, channels, builds, peers)
    rows = []
    for phase, most in (("start", TURNS), ("cold start", COLD_TURNS)):
        turns = {k: most if k.startswith("mica") else min(most, 5) for k in commands}
        times = take_turns(commands, turns, None if phase == "start" else files)
        medians = {who: statistics.median(t) for who, t in times.items()}
        for who, t in times.items():
            print("%-10s %-10s %-24s %8.1f ms (%.1f to %.1f)" % (name, phase, who, medians[who], min(t), max(t)))
        for b in builds:
            mine = medians["mica " + b]
            for peer in [p for p in medians if not p.startswith("mica")] or [""]:
                other = medians.get(peer)
                rows.append({"workload": name, "phase": phase + " " + os.path.basename(b), "dtype": "float32",
                             "threads": 2, "peer": peer, "ratio": other / mine if other else None, "mica": mine,
                             "other": other, "unit": "ms", "limit_fraction": None})
    return rows


def main():
    builds = [b.rstrip("/") for b in sys.argv[1:]]
    if not builds:
        raise SystemExit(__doc__.split("\n\n")[1].strip())
    for network in NETWORKS:
        save(os.path.join(builds[0], "bench", "results.json"), measure(*network, builds, pythons(builds[0])))


main()
