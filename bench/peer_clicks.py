"""The case of bench/clicks.c in PyTorch, with the same protocol.

    peer_clicks.py CASE [--one-table] [--foreach]

Rows of the tables by SparseAdam, the dense parameters by Adam. --one-table keeps the first-order
weights beside the vectors, in one look-up and one update; --foreach is a setting of Adam.
"""
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

THREADS, BATCH, BATCHES, NUMBERS, DIM = 2, 2048, 16, 13, 16
SIZES = [1460, 583, 150000, 150000, 305, 24, 12517, 633, 3, 93145, 5683, 150000, 3194, 27, 14992,
         150000, 10, 5652, 2173, 4, 150000, 18, 15, 150000, 105, 142572]


class DeepFM(nn.Module):
    def __init__(self, one_table):
        super().__init__()
        self.register_buffer("offsets", torch.tensor([0] + SIZES[:-1]).cumsum(0))
        widths = [DIM + 1] if one_table else [DIM, 1]
        self.tables = nn.ModuleList(nn.Embedding(sum(SIZES), w, sparse=True) for w in widths)
        for table in self.tables:
            nn.init.normal_(table.weight, std=0.01)
        self.numeric = nn.Parameter(torch.randn(NUMBERS, DIM) * 0.01)
        self.first = nn.Parameter(torch.randn(NUMBERS) * 0.01)
        layers, width = [], (len(SIZES) + NUMBERS) * DIM
        for _ in range(3):
            layers += [nn.Linear(width, 400), nn.ReLU(inplace=True)]
            width = 400
        self.tower = nn.Sequential(*layers, nn.Linear(width, 1, bias=False))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, ids, x):
        rows = ids + self.offsets
        if len(self.tables) == 1:
            both = self.tables[0](rows)
            e, first = both[..., :DIM], both[..., DIM]
        else:
            e, first = self.tables[0](rows), self.tables[1](rows)[..., 0]
        e = torch.cat([e, x[:, :, None] * self.numeric], 1)
        total = e.sum(1)
        pairs = 0.5 * (total * total - (e * e).sum(1)).sum(1)
        z = first.sum(1) + x @ self.first + pairs + self.bias
        return z + self.tower(e.flatten(1))[:, 0]


def main():
    torch.set_num_threads(THREADS)
    torch.manual_seed(1)
    flags = sys.argv[2:]
    model = DeepFM("--one-table" in flags)
    tables = list(model.tables.parameters())
    dense = [p for p in model.parameters() if all(p is not q for q in tables)]
    rules = [torch.optim.SparseAdam(tables, 1e-3),
             torch.optim.Adam(dense, 1e-3, foreach="--foreach" in flags)]
    sizes = torch.tensor(SIZES, dtype=torch.float64)
    batches = []
    for _ in range(BATCHES):
        u = torch.rand(BATCH, len(SIZES), dtype=torch.float64)
        ids = (torch.exp(u * torch.log(sizes + 1)) - 1).long().minimum(sizes.long() - 1)
        batches.append((ids, torch.randn(BATCH, NUMBERS), (torch.rand(BATCH) < 0.25).float()))
    number = 0

    def step():
        ids, x, click = batches[number % BATCHES]
        for rule in rules:
            rule.zero_grad(set_to_none=True)
        F.binary_cross_entropy_with_logits(model(ids, x), click).backward()
        for rule in rules:
            rule.step()
    print(torch.__version__, torch.get_num_threads(), flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            step()
            number += 1
            times.append("%.4f" % ((time.perf_counter() - start) * 1e3))
        print(*times, flush=True)


main()
