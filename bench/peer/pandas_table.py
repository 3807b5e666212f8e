#!/usr/bin/env python3
"""The table of bench/data_path.c in pandas. --category: texts become categories, as they do in mica."""
import os

import pandas

import protocol

TEXTS = ["item", "colour", "label"]


def make(o):
    path = os.path.join(os.environ["MICA_BENCH_FILES"], "table.csv")
    kinds = {name: "category" for name in TEXTS} if o.category else None
    precision = "round_trip" if o.exact else None
    return lambda: pandas.read_csv(path, dtype=kinds, float_precision=precision)


def main():
    o = protocol.options("category", "exact")
    protocol.serve("pandas " + pandas.__version__, lambda: make(o))


main()
