#!/usr/bin/env python3
"""Approximate neighbours in FAISS (--faiss), hnswlib (--hnswlib) or usearch (--usearch); bench/approximate.c is the
same in C, and says what the phases are. PYTHONPATH tells where the packages are if the system has none."""
import numpy as np

import protocol

ROWS, WIDTH, QUERIES, NEAREST, SAMPLE, PLANE = 50000, 64, 1000, 10, 16384, 16


def rows():
    """A thousand at a time, as memory is compared."""
    draw = np.random.default_rng(1)
    plane, centre = draw.standard_normal((PLANE, WIDTH)), 1.5 * draw.standard_normal((200, PLANE))
    x = np.empty((ROWS + QUERIES, WIDTH), "f4")
    for i in range(0, len(x), 1000):
        z = centre[draw.integers(0, 200, 1000)] + draw.standard_normal((1000, PLANE))
        x[i:i + 1000] = z @ plane + 0.3 * draw.standard_normal((1000, WIDTH))
    return x[:ROWS], x[ROWS:]


def nearest(x, q):
    square = (x ** 2).sum(1)
    return np.concatenate([np.argpartition(square - 2 * p @ x.T, NEAREST, axis=1)[:, :NEAREST]
                           for p in np.split(q, 100)])


def least_effort(set_effort, ask, truth):
    """The least that finds 95 %."""
    effort = 1
    while effort < 4096:
        set_effort(effort)
        ids = ask()
        if np.mean([len(set(a) & set(b)) for a, b in zip(ids, truth)]) >= 0.95 * NEAREST:
            return
        effort += 1 + effort // 8


def faiss_side(o):
    import faiss
    faiss.omp_set_num_threads(o.threads)

    def build(x):
        if o.phase.startswith("hnsw"):
            index = faiss.IndexHNSWFlat(WIDTH, 16)
            index.hnsw.efConstruction = 128
            index.add(x)
            return index
        index = faiss.index_factory(WIDTH, "IVF894,PQ16,RFlat")
        index.train(x)
        index.add(x)
        index.k_factor = 10
        return index

    def train(x):
        pq = faiss.ProductQuantizer(WIDTH, 16, 8)
        pq.train(x[:SAMPLE])

    def effort(index):
        if o.phase.startswith("hnsw"):
            return lambda e: setattr(index.hnsw, "efSearch", max(e, NEAREST))
        ivf = faiss.extract_index_ivf(faiss.downcast_index(index.base_index))
        return lambda e: setattr(ivf, "nprobe", e)

    return "FAISS " + faiss.__version__, build, train, effort, lambda i, q: i.search(q, NEAREST)[1]


def hnswlib_side(o):
    import hnswlib

    def build(x):
        index = hnswlib.Index("l2", WIDTH)
        index.init_index(ROWS, ef_construction=128, M=16)
        index.set_num_threads(o.threads)
        index.add_items(x)
        return index

    return ("hnswlib 0.8", build, None, lambda i: lambda e: i.set_ef(max(e, NEAREST)),
            lambda i, q: i.knn_query(q, NEAREST)[0])


def usearch_side(o):
    import usearch
    from usearch.index import Index

    def build(x):
        index = Index(ndim=WIDTH, metric="l2sq", dtype="f32", connectivity=16, expansion_add=128)
        index.add(np.arange(ROWS), x, threads=o.threads)
        return index

    return ("usearch " + usearch.__version__, build, None, lambda i: lambda e: setattr(i, "expansion_search", e),
            lambda i, q: i.search(q, NEAREST, threads=o.threads).keys.reshape(len(q), NEAREST).astype(int))


def main():
    o = protocol.options("faiss", "hnswlib", "usearch")
    if not (o.faiss or o.phase.startswith("hnsw")):
        raise SystemExit("it has no codes")
    side = faiss_side if o.faiss else hnswlib_side if o.hnswlib else usearch_side
    name, build, train, effort, ask = side(o)

    def make():
        x, q = rows()
        if o.phase == "pq-train":
            return lambda: train(x)
        if o.phase.endswith("-build"):
            return lambda: build(x)
        index = build(x)
        least_effort(effort(index), lambda: ask(index, q), nearest(x, q))
        if o.phase.endswith("-one"):
            return lambda: [ask(index, q[i:i + 1]) for i in range(100)]
        return lambda: ask(index, q)

    protocol.serve(name, make)


main()
