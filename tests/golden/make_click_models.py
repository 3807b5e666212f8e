#!/usr/bin/python3
"""Makes tests/golden/click_models/*.safetensors, what tests/test_click_models.c compares with.

Run from the root of the project with Debian's python3-torch:

    /usr/bin/python3 tests/golden/make_click_models.py

Each file is one network, written down from its paper's equations, example by example and pair by
pair, in float64: ids [N,F] and x [N,K], click [N]; param.NAME in mica's names; z [N] the score,
loss the mean binary cross-entropy and grad.NAME its gradients. Metadata: the specification.
"""
import json
import os
import struct

import torch

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "click_models")
SIZES, COLUMNS, N, DIM = [5, 3, 7, 2], 3, 9, 4
TYPES = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64"}
torch.set_default_dtype(torch.float64)


def write(name, tensors, metadata):
    header, at, parts = {"__metadata__": metadata}, 0, []
    for key, value in tensors.items():
        data = value.detach().contiguous().numpy().tobytes()
        header[key] = {"dtype": TYPES[value.dtype], "shape": list(value.shape),
                       "data_offsets": [at, at + len(data)]}
        parts.append(data)
        at += len(data)
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with open(os.path.join(OUT, name + ".safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head + b"".join(parts))


class Net:
    """Parameters come into being when they are first asked for."""

    def __init__(self, ids, x):
        self.ids, self.x, self.p = ids, x, {}

    def get(self, name, *shape, scale=0.5):
        if name not in self.p:
            value = (torch.randn(*shape) * scale).float().double()
            self.p[name] = value.requires_grad_()
        return self.p[name]

    def linear(self, name, v, out, bias=True):
        y = self.get(name + ".weight", out, len(v)) @ v
        return y + self.get(name + ".bias", out) if bias else y

    def first_order(self, n):
        w, total = self.get("linear.weight", sum(SIZES), 1), 0
        for f, i in enumerate(self.ids[n]):
            total = total + w[sum(SIZES[:f]) + i, 0]
        for k in range(self.columns()):
            total = total + self.get("linear.numeric", COLUMNS, 1)[k, 0] * self.x[n, k]
        return total

    def columns(self):
        return 0 if self.x is None else COLUMNS

    def vectors(self, n, numeric=True):
        table = self.get("embedding.weight", sum(SIZES), DIM)
        v = [table[sum(SIZES[:f]) + i] for f, i in enumerate(self.ids[n])]
        if numeric:
            v += [self.get("embedding.numeric", COLUMNS, DIM)[k] * self.x[n, k]
                  for k in range(self.columns())]
        return v

    def pairs(self, n):
        v = self.vectors(n)
        return sum((v[i] * v[j]).sum() for i in range(len(v)) for j in range(i))

    def tower(self, name, rows, widths, norm=False):
        """rows: the vectors of all examples, which batch norm needs together."""
        for i, width in enumerate(widths):
            rows = [self.linear(f"{name}.layers.{i}", v, width) for v in rows]
            if norm:
                both = torch.stack(rows)
                mean, var = both.mean(0), both.var(0, unbiased=False)
                gain = self.get(f"{name}.norms.{i}.weight", width)
                bias = self.get(f"{name}.norms.{i}.bias", width)
                rows = [(v - mean) / torch.sqrt(var + 1e-5) * gain + bias for v in rows]
            rows = [v.clamp(min=0) for v in rows]
        return rows

    def cross(self, x, layers, form):
        x0 = x
        for i in range(layers):
            at, d = f"cross.layers.{i}", len(x)
            b = self.get(at + ".bias", d)
            if form == "vector":
                x = x0 * (self.get(at + ".weight", 1, d)[0] @ x) + b + x
            elif form == "full":
                x = x0 * (self.get(at + ".weight", d, d, scale=0.2) @ x + b) + x
            elif form == "low":
                u = self.get(at + ".up", d, 3) @ (self.get(at + ".down", 3, d) @ x)
                x = x0 * (u + b) + x
            else:
                g, y = torch.softmax(self.get(at + ".gate", 2, d) @ x, 0), x
                for e in range(2):
                    h = torch.tanh(self.get(f"{at}.experts.{e}.down", 3, d) @ x)
                    h = torch.tanh(self.get(f"{at}.experts.{e}.core", 3, 3) @ h)
                    y = y + g[e] * x0 * (self.get(f"{at}.experts.{e}.up", d, 3) @ h + b)
                x = y
        return x

    def head(self, rows):
        return torch.stack([self.linear("head", v, 1, False)[0] for v in rows])


def lr(net):
    return torch.stack([net.first_order(n) for n in range(N)])


def fm(net):
    return torch.stack([net.first_order(n) + net.pairs(n) for n in range(N)])


def deepfm(net):
    return fm(net) + net.head(net.tower("tower", [torch.cat(net.vectors(n)) for n in range(N)],
                                        [6, 5]))


def dcn(form, stacked=False, norm=False):
    def forward(net):
        rows = [torch.cat(net.vectors(n)) for n in range(N)]
        crossed = [net.cross(v, 2, form) for v in rows]
        deep = net.tower("tower", crossed if stacked else rows, [6, 5], norm)
        return net.head(deep if stacked else [torch.cat(p) for p in zip(crossed, deep)])
    return forward


def dlrm(net):
    rows = [net.vectors(n, False) for n in range(N)]
    if net.columns():
        bottom = net.tower("bottom", list(net.x), [6, 5])
        bottom = [net.linear("bottom.last", v, DIM).clamp(min=0) for v in bottom]
        rows = [[b] + r for b, r in zip(bottom, rows)]
    top = []
    for r in rows:
        dots = torch.stack([r[i] @ r[j] for i in range(len(r)) for j in range(i)])
        top.append(torch.cat([r[0], dots]) if net.columns() else dots)
    return net.head(net.tower("top", top, [7]))


CASES = {
    "lr": ("lr", lr, True),
    "lr_fields": ("lr", lr, False),
    "fm": ("fm:dim=4", fm, True),
    "fm_fields": ("fm:dim=4", fm, False),
    "deepfm": ("deepfm:dim=4:hidden=6,5:dropout=0", deepfm, True),
    "dcn": ("dcn:dim=4:layers=2:hidden=6,5", dcn("vector", norm=True), True),
    "dcnv2": ("dcnv2:dim=4:hidden=6,5", dcn("full"), True),
    "dcnv2_stacked": ("dcnv2:dim=4:hidden=6,5:rank=3:structure=stacked", dcn("low", True), True),
    "dcnv2_mixture": ("dcnv2:dim=4:hidden=6,5:rank=3:experts=2:norm=true",
                      dcn("mixture", norm=True), False),
    "dlrm": ("dlrm:dim=4:bottom=6,5:top=7", dlrm, True),
    "dlrm_fields": ("dlrm:dim=4:top=7", dlrm, False),
}


def main():
    os.makedirs(OUT, exist_ok=True)
    for number, (name, (spec, forward, numeric)) in enumerate(CASES.items()):
        torch.manual_seed(number)
        ids = torch.stack([torch.randint(0, s, (N,)) for s in SIZES], 1)
        x = torch.randn(N, COLUMNS).float().double() if numeric else None
        click = torch.randint(0, 2, (N,))
        net = Net(ids, x)
        bias = net.get("bias", 2)
        z = forward(net) + bias[1] - bias[0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(z, click.double())
        loss.backward()
        out = {"ids": ids, "click": click, "z": z, "loss": loss.reshape(1)}
        if numeric:
            out["x"] = x.float()
        for key, value in net.p.items():
            out["param." + key] = value.float()
            out["grad." + key] = value.grad
        write(name, out, {"spec": spec})
        print(name, [round(float(v), 3) for v in z[:4]], float(loss))


main()
