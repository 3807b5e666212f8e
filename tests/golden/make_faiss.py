#!/usr/bin/env python3
"""Make tests/golden/faiss: small indices as faiss.write_index writes them (made with faiss-cpu 1.15.1), and what
FAISS answers: answers.npz has x [n,d], q [m,d], and NAME.ids [m,k], NAME.scores [m,k] of each file NAME.faiss. Those
of lists look at all of them. lsh.faiss and sq.faiss are of kinds that mica does not read.

Read back what mica wrote:  make_faiss.py check FILE QUERIES.npy IDS.npy  (exit status 0: the same neighbours)
"""
import os
import sys

import faiss
import numpy as np


def make():
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "faiss")
    rng = np.random.default_rng(3)
    n, m, d, k = 80, 6, 8, 5
    x = rng.standard_normal((n, d)).astype("f4")
    q = rng.standard_normal((m, d)).astype("f4")
    answers = {"x": x, "q": q}

    def put(name, index, asked=True):
        faiss.write_index(index, os.path.join(folder, name + ".faiss"))
        if asked:
            scores, ids = index.search(q, k)
            answers[name + ".ids"], answers[name + ".scores"] = ids.astype("i8"), scores

    def lists(inner, metric=faiss.METRIC_L2):
        return faiss.IndexFlatL2(d) if metric == faiss.METRIC_L2 else faiss.IndexFlatIP(d)

    for name, index in (("flat_l2", faiss.IndexFlatL2(d)), ("flat_ip", faiss.IndexFlatIP(d))):
        index.add(x)
        put(name, index)
    index = faiss.IndexIDMap(faiss.IndexFlatIP(d))
    index.add_with_ids(x, np.arange(n) * 2 + 5)
    put("id_map", index)
    for name, metric in (("ivf_l2", faiss.METRIC_L2), ("ivf_ip", faiss.METRIC_INNER_PRODUCT)):
        coarse = lists(d, metric)
        index = faiss.IndexIVFFlat(coarse, d, 6, metric)
        index.train(x)
        index.add_with_ids(x, np.arange(n) * 3 + 7)
        index.nprobe = 6
        put(name, index)
    for name, bits, metric in (("ivfpq_3", 3, faiss.METRIC_L2), ("ivfpq_4", 4, faiss.METRIC_INNER_PRODUCT)):
        coarse = lists(d, metric)
        index = faiss.IndexIVFPQ(coarse, d, 5, 4, bits, metric)
        index.train(x)
        index.add(x)
        index.nprobe = 5
        put(name, index)
    for name, bits, metric in (("pq_l2", 4, faiss.METRIC_L2), ("pq_ip", 5, faiss.METRIC_INNER_PRODUCT)):
        index = faiss.IndexPQ(d, 2, bits, metric)
        index.train(x)
        index.add(x)
        put(name, index)
    index = faiss.index_factory(d, "OPQ2,IVF4,PQ2x4")
    faiss.downcast_VectorTransform(index.chain.at(0)).pq = faiss.ProductQuantizer(d, 2, 4)
    index.train(x)
    index.add(x)
    faiss.extract_index_ivf(index).nprobe = 4
    put("opq", index)
    index = faiss.IndexHNSWFlat(d, 4)
    index.hnsw.efSearch = 80
    index.add(x)
    put("hnsw", index)
    # A list without rows, which is written by pairs.
    coarse = faiss.IndexFlatL2(d)
    coarse.add(np.concatenate([x[:2], 100 + np.arange(6 * d, dtype="f4").reshape(6, d)]))
    index = faiss.IndexIVFFlat(coarse, d, 8)
    index.add(x)
    index.nprobe = 8
    put("sparse", index)
    index = faiss.IndexLSH(d, 16)
    index.add(x)
    put("lsh", index, False)
    index = faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_8bit)
    index.train(x)
    index.add(x)
    put("sq", index, False)
    np.savez(os.path.join(folder, "answers.npz"), **answers)


def check(path, queries, expected):
    index = faiss.read_index(path)
    try:
        ivf = faiss.extract_index_ivf(index)
        ivf.nprobe = ivf.nlist
    except RuntimeError:
        pass
    if hasattr(index, "hnsw"):
        index.hnsw.efSearch = 1000
    expected = np.load(expected)
    ids = index.search(np.load(queries), expected.shape[1])[1]
    share = np.mean([len(set(a) & set(b)) for a, b in zip(ids, expected)]) / expected.shape[1]
    print(path, "shares", share, "of the neighbours")
    return share


if len(sys.argv) > 1:
    sys.exit(int(check(*sys.argv[2:]) < 0.98))
make()
