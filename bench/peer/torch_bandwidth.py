"""The workloads of bench/bandwidth.c in PyTorch.

    torch_bandwidth.py WORKLOAD forward|train|step [--threads N] [--foreach] [--fused]
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

import protocol

ELEMENTS, PARAMETERS = 100 << 20, 100000000
COLUMNS = {"layer-norm": 768, "cross-entropy-1000": 1000, "cross-entropy-50257": 50257, "gelu": 1024,
           "gelu-tanh": 1024}


def update(o):
    w = nn.Parameter(torch.randn(PARAMETERS // 1000, 1000))
    w.grad = torch.full_like(w, 1 / PARAMETERS)
    choice = {"fused": True} if o.fused else {"foreach": o.foreach}
    return torch.optim.AdamW([w], 1e-4, weight_decay=0.05, **choice).step


def operation(o):
    columns = COLUMNS[o.workload]
    rows = ELEMENTS // columns
    x = torch.randn(rows, columns, requires_grad=True)
    loss = o.workload.startswith("cross")
    gradient = torch.tensor(1.0) if loss else torch.randn(rows, columns)
    labels = torch.randint(0, columns, (rows,))
    gain, bias = torch.randn(columns, requires_grad=True), torch.randn(columns, requires_grad=True)

    def apply():
        if o.workload == "layer-norm":
            return F.layer_norm(x, (columns,), gain, bias)
        if loss:
            return F.cross_entropy(x, labels)
        return F.gelu(x, approximate="tanh" if o.workload == "gelu-tanh" else "none")

    def step():
        if o.phase == "forward":
            with torch.inference_mode():
                return apply()
        x.grad = gain.grad = bias.grad = None
        return apply().backward(gradient)
    return step


def main():
    o = protocol.options("foreach", "fused")
    torch.set_num_threads(o.threads)
    torch.manual_seed(1)
    protocol.serve("PyTorch " + torch.__version__.split("+")[0],
                   lambda: update(o) if o.workload == "adamw" else operation(o))


main()
