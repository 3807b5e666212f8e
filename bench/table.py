#!/usr/bin/env python3
"""Print the figures of bench/run.py as Markdown tables, one for each phase's kind:

    bench/table.py BUILD [--threads N]
"""
import argparse
import json
import os

from run import short


def cell(row):
    text = short(row["ratio"])
    return text if "low" not in row else text + " (%.2f to %.2f)" % (row["low"], row["high"])


def number(x):
    return "" if x is None else "%.4g" % x


def percent(x):
    return "" if x is None else "%.0f %%" % (100 * x)


def tables(rows):
    """Rows of a workload, phase, type and number of threads side by side: a column for each peer."""
    peers = []
    lines = {}
    for row in rows:
        if row["peer"] and row["peer"] not in peers:
            peers.append(row["peer"])
        key = (row["workload"], row["phase"], row["dtype"], row["threads"])
        lines.setdefault(key, {})[row["peer"]] = row
    print("| workload | phase | type | threads | mica | unit | of the limit | %s |" % " | ".join(peers))
    print("|" + " --- |" * (7 + len(peers)))
    for key, by_peer in lines.items():
        any_row = next(iter(by_peer.values()))
        cells = [cell(by_peer[p]) if p in by_peer and by_peer[p]["ratio"] is not None else "" for p in peers]
        print("| %s | %s | %s | %s | %s | %s | %s | %s |"
              % (*key[:3], key[3] or "", number(any_row["mica"]), any_row["unit"], percent(any_row["limit_fraction"]),
                 " | ".join(cells)))
    print()


def kind(row):
    if row["unit"] in ("MiB", "MB"):
        return "memory and size: mica's over the other's"
    if "calls" in row["unit"] or "allocations" in row["unit"]:
        return "allocations"
    return "speed: times as fast as"


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].strip())
    parser.add_argument("build")
    parser.add_argument("--threads", type=int, default=0)
    o = parser.parse_args()
    with open(os.path.join(o.build, "bench", "results.json")) as file:
        rows = [r for r in json.load(file) if not o.threads or r["threads"] in (0, o.threads)]
    for name in dict.fromkeys(kind(r) for r in rows):
        print("### %s\n" % name.capitalize())
        tables([r for r in rows if kind(r) == name])


if __name__ == "__main__":
    main()
