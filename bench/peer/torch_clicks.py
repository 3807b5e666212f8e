"""The workloads of bench/clicks.c in PyTorch.

    torch_clicks.py WORKLOAD PHASE [--batch N] [--threads N] [--one-table] [--foreach]

Rows of the tables by SparseAdam or Adagrad's sparse form, the dense parameters by Adam or Adagrad.
--one-table keeps DeepFM's first-order weights beside the vectors, in one look-up and one update; DLRM
has one table for all fields in either case. --foreach is a setting of the dense rule.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

import protocol

BATCH, BATCHES, NUMBERS, DIM = 2048, 16, 13, 16
CRITEO = [1460, 583, 150000, 150000, 305, 24, 12517, 633, 3, 93145, 5683, 150000, 3194, 27, 14992,
          150000, 10, 5652, 2173, 4, 150000, 18, 15, 150000, 105, 142572]


def tower(widths, last):
    layers = []
    for a, b in zip(widths, widths[1:]):
        layers += [nn.Linear(a, b), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, *last)


class Tables(nn.Module):
    def __init__(self, sizes, widths):
        super().__init__()
        self.register_buffer("offsets", torch.tensor([0] + sizes[:-1]).cumsum(0))
        self.tables = nn.ModuleList(nn.Embedding(sum(sizes), w, sparse=True) for w in widths)
        for table in self.tables:
            nn.init.uniform_(table.weight, -0.01, 0.01)

    def forward(self, ids):
        return [table(ids + self.offsets) for table in self.tables]


class DeepFM(nn.Module):
    def __init__(self, sizes, one_table):
        super().__init__()
        self.tables = Tables(sizes, [DIM + 1] if one_table else [DIM, 1])
        self.numeric = nn.Parameter(torch.randn(NUMBERS, DIM) * 0.01)
        self.first = nn.Parameter(torch.randn(NUMBERS) * 0.01)
        self.tower = tower([(len(sizes) + NUMBERS) * DIM, 400, 400, 400],
                           [nn.Linear(400, 1, bias=False)])
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, ids, x):
        rows = self.tables(ids)
        if len(rows) == 1:
            e, first = rows[0][..., :DIM], rows[0][..., DIM]
        else:
            e, first = rows[0], rows[1][..., 0]
        e = torch.cat([e, x[:, :, None] * self.numeric], 1)
        total = e.sum(1)
        pairs = 0.5 * (total * total - (e * e).sum(1)).sum(1)
        z = first.sum(1) + x @ self.first + pairs + self.bias
        return z + self.tower(e.flatten(1))[:, 0]


class DLRM(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        n = len(sizes) + 1
        self.tables = Tables(sizes, [DIM])
        self.bottom = tower([NUMBERS, 512, 256, 64, DIM], [])
        self.top = tower([n * (n - 1) // 2 + DIM, 512, 256], [nn.Linear(256, 1)])
        self.register_buffer("pairs", torch.tril_indices(n, n, -1))

    def forward(self, ids, x):
        v = self.bottom(x)
        e = torch.cat([v[:, None], self.tables(ids)[0]], 1)
        dots = torch.bmm(e, e.transpose(1, 2))[:, self.pairs[0], self.pairs[1]]
        return self.top(torch.cat([v, dots], 1))[:, 0]


def make(o):
    batch = o.batch or BATCH
    sizes = CRITEO if o.workload == "deepfm" else [1000000] * len(CRITEO)
    model = DeepFM(sizes, o.one_table) if o.workload == "deepfm" else DLRM(sizes)
    batches, count = [], torch.tensor(sizes, dtype=torch.float64)
    for _ in range(BATCHES):
        u = torch.rand(batch, len(sizes), dtype=torch.float64)
        ids = (torch.exp(u * torch.log(count + 1)) - 1).long().minimum(count.long() - 1)
        batches.append((ids, torch.randn(batch, NUMBERS), (torch.rand(batch) < 0.25).float()))
    number = [0]

    def following():
        number[0] += 1
        return batches[number[0] % BATCHES]

    def score():
        ids, x, _ = following()
        with torch.inference_mode():
            return model(ids, x)

    if o.phase == "infer":
        return score
    tables = [p for t in model.tables.tables for p in t.parameters()]
    dense = [p for p in model.parameters() if all(p is not q for q in tables)]
    if o.workload == "dlrm-adagrad":
        rules = [torch.optim.Adagrad(tables, 0.01), torch.optim.Adagrad(dense, 0.01, foreach=o.foreach)]
    else:
        rules = [torch.optim.SparseAdam(tables, 1e-3), torch.optim.Adam(dense, 1e-3, foreach=o.foreach)]

    def step():
        ids, x, click = following()
        for rule in rules:
            rule.zero_grad(set_to_none=True)
        F.binary_cross_entropy_with_logits(model(ids, x), click).backward()
        for rule in rules:
            rule.step()
    return step


def main():
    o = protocol.options("one-table", "foreach")
    torch.set_num_threads(o.threads)
    torch.manual_seed(1)
    protocol.serve("PyTorch " + torch.__version__.split("+")[0], lambda: make(o))


main()
