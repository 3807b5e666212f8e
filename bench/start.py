#!/usr/bin/env python3
"""From the start of a program to its end: it loads a model file, embeds a picture, and prints a number.

    bench/start.py BUILD [BUILD]...          e.g. build build-embedded

The files are in the system's cache. Each build's bench/start and, where there is a python with PyTorch,
the same network there, take turns; the table shows medians. The rows are added to the first build's
results.json, in milliseconds: less is better, and a ratio above 1 says how many times faster mica is.
"""
import os
import statistics
import subprocess
import sys
import time

from run import HERE, pythons, save

NETWORKS = [("resnet8", "resnet:depth=8", 28, 1), ("vit-tiny", "vit:patch=4:dim=192:depth=12:heads=3", 32, 3)]
TURNS = 15


def milliseconds(command):
    begin = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - begin) * 1e3


def measure(name, model, side, channels, builds, peers):
    folder = os.path.join(builds[0], "bench")
    path = os.path.join(folder, name + ".mica")
    subprocess.run([os.path.join(folder, "start"), "make", model, str(side), str(channels), path], check=True)
    commands = {"mica " + b: [os.path.join(b, "bench", "start"), path] for b in builds}
    turns = {k: TURNS for k in commands}
    for version, python in peers:
        weights = os.path.join(folder, "%s-%s.pt" % (name, version.split("+")[0]))
        program = [python, os.path.join(HERE, "peer", "torch_start.py"), name, weights]
        subprocess.run(program + ["--make"], check=True)
        label = "PyTorch " + version.split("+")[0]
        commands[label], turns[label] = program, 5
    times = {k: [] for k in commands}
    for turn in range(TURNS + 1):
        for who, command in commands.items():
            if turn <= turns[who]:
                times[who].append(milliseconds(command))
    medians = {who: statistics.median(t[1:]) for who, t in times.items()}  # the first warms the cache
    for who, ms in medians.items():
        print("%-10s %-24s %8.1f ms (%.1f to %.1f)" % (name, who, ms, min(times[who][1:]), max(times[who][1:])))
    rows = []
    for b in builds:
        mine = medians["mica " + b]
        for peer in [p for p in medians if not p.startswith("mica")] or [""]:
            other = medians.get(peer)
            rows.append({"workload": name, "phase": "start " + os.path.basename(b), "dtype": "float32",
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
