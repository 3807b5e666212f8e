#!/usr/bin/env python3
"""How large the library is: stripped, and with every shared library that it needs, the C library among them.

    bench/size.py BUILD

Beside it the same of each PyTorch: its own libraries and all that `import torch` maps. The rows are
added to BUILD's results.json, in megabytes (of 10^6 bytes): a ratio is mica's over the other's.
"""
import os
import subprocess
import sys

from closure import closure, megabytes, torch_libraries, torch_package
from run import pythons, save, show


def row(phase, peer, mica, other):
    return {"workload": "library", "phase": phase, "dtype": "", "threads": 0, "peer": peer,
            "ratio": mica / other if other else None, "mica": mica, "other": other, "unit": "MB",
            "limit_fraction": None}


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__.split("\n\n")[1].strip())
    folder = os.path.join(sys.argv[1], "bench")
    library = os.path.realpath(os.path.join(sys.argv[1], "libmica.so"))
    stripped = os.path.join(folder, "libmica-stripped.so")
    subprocess.run(["strip", "-o", stripped, library], check=True)
    own = megabytes([stripped])
    needed = megabytes(closure(stripped))
    rows = []
    for version, python in pythons(sys.argv[1]):
        peer = "PyTorch " + version.split("+")[0]
        whole = torch_libraries(python)
        package = os.path.realpath(torch_package(python))
        theirs = [p for p in whole if p.startswith(package + os.sep) or "/libtorch" in p or "/libc10" in p]
        rows += [row("stripped", peer, own, megabytes(theirs)), row("all libraries", peer, needed, megabytes(whole))]
    rows = rows or [row("stripped", "", own, None), row("all libraries", "", needed, None)]
    for r in rows:
        show(r)
    save(os.path.join(folder, "results.json"), rows)


if __name__ == "__main__":
    main()
