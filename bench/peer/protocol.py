"""What every peer shares: the options, and the answers to what bench/run.py asks. bench/bench.c is the
same in C."""
import argparse
import sys
import time


def options(*flags):
    """The arguments of a peer: WORKLOAD PHASE [--batch N] [--threads N] and the flags it knows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workload")
    parser.add_argument("phase")
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bf16", action="store_true")
    for flag in flags:
        parser.add_argument("--" + flag, action="store_true")
    return parser.parse_args()


def memory(field):
    """A line of /proc/self/status, in kilobytes."""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    return 0


def serve(name, make):
    """Make the step ready, say so, and repeat it as often as each line of input says."""
    before = memory("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # what the imports needed for a moment does not count
    step = make()
    print(name, flush=True)
    for line in sys.stdin:
        word = line.split()
        if word[0] == "run":
            times = []
            for _ in range(int(word[1])):
                start = time.perf_counter()
                step()
                times.append("%.4f" % ((time.perf_counter() - start) * 1e3))
            print(*times, flush=True)
        elif word[0] == "memory":
            print(before, memory("VmRSS"), memory("VmHWM"), flush=True)
        else:
            print("?", flush=True)
