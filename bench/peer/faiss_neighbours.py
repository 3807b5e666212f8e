#!/usr/bin/env python3
"""Exact neighbour search in FAISS (IndexFlatL2, IndexFlatIP); bench/neighbours.c is the same in C."""
import faiss
import numpy as np

import protocol

ROWS, WIDTH, QUERIES, NEAREST = 100000, 128, 1000, 10


def make(o):
    faiss.omp_set_num_threads(o.threads)
    draw = np.random.default_rng(1)
    rows = draw.standard_normal((ROWS, WIDTH), dtype=np.float32)
    queries = draw.standard_normal((o.batch or QUERIES, WIDTH), dtype=np.float32)
    index = {"l2": faiss.IndexFlatL2, "inner": faiss.IndexFlatIP}[o.phase](WIDTH)
    index.add(rows)
    return lambda: index.search(queries, NEAREST)


def main():
    o = protocol.options()
    protocol.serve("FAISS " + faiss.__version__, lambda: make(o))


main()
