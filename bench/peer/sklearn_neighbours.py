#!/usr/bin/env python3
"""Exact neighbour search in scikit-learn (NearestNeighbors, brute force); it knows no inner product."""
import numpy as np
import sklearn
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

import protocol

ROWS, WIDTH, QUERIES, NEAREST = 100000, 128, 1000, 10


def make(o):
    threadpool_limits(o.threads)
    draw = np.random.default_rng(1)
    rows = draw.standard_normal((ROWS, WIDTH), dtype=np.float32)
    queries = draw.standard_normal((o.batch or QUERIES, WIDTH), dtype=np.float32)
    index = NearestNeighbors(n_neighbors=NEAREST, algorithm="brute").fit(rows)
    return lambda: index.kneighbors(queries)


def main():
    o = protocol.options()
    if o.phase != "l2":
        raise SystemExit("scikit-learn has no search by inner product")
    protocol.serve("scikit-learn " + sklearn.__version__, lambda: make(o))


main()
