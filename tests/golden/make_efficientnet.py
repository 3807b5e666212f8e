#!/usr/bin/python3
"""Makes tests/golden/torch/efficientnet.safetensors, what tests/test_efficientnet.c compares with.

Run it from the root of the project with a Python that has PyTorch (made with 2.15):

    python3 tests/golden/make_efficientnet.py

A small EfficientNet (widths a twentieth, depths three tenths of B0's, five classes) on pictures of 33 x 28: all
of its parameters under the names of efficientnet_pytorch, random running statistics, and in
evaluation the mean of each block's map, the logits, and the gradients of the mean squared logit;
then the running statistics and logits of a step in training (without drop-connect and dropout).
PyTorch computes in float64; parameters and pictures are rounded to float32 first.
"""
import math

import torch
import torch.nn.functional as F

from safetensors_file import write

OUT = "tests/golden/torch/efficientnet.safetensors"
STAGES = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80),
          (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)]
WIDTH, DEPTH, CLASSES = 0.05, 0.3, 5


def wide(filters):
    wanted = filters * WIDTH
    eights = max(8, int(wanted + 4) // 8 * 8)
    return eights + 8 if eights < 0.9 * wanted else eights


def make_parameters():
    p = {}

    def conv(name, out, into, k, bias=False):
        p[name + ".weight"] = torch.randn(out, into, k, k) * (1.5 / math.sqrt(into * k * k))
        if bias:
            p[name + ".bias"] = torch.randn(out) * 0.3

    def norm(name, n):
        p[name + ".weight"] = 1 + 0.3 * torch.randn(n)
        p[name + ".bias"] = 0.3 * torch.randn(n)
        p[name + ".running_mean"] = 0.3 * torch.randn(n)
        p[name + ".running_var"] = 0.2 + torch.rand(n)

    into, n = wide(32), 0
    conv("_conv_stem", into, 3, 3)
    norm("_bn0", into)
    for repeats, k, _, expansion, filters in STAGES:
        for _ in range(math.ceil(repeats * DEPTH)):
            at, out, inner = "_blocks.%d." % n, wide(filters), into * expansion
            if expansion != 1:
                conv(at + "_expand_conv", inner, into, 1)
                norm(at + "_bn0", inner)
            conv(at + "_depthwise_conv", inner, 1, k)
            norm(at + "_bn1", inner)
            conv(at + "_se_reduce", max(1, into // 4), inner, 1, True)
            conv(at + "_se_expand", inner, max(1, into // 4), 1, True)
            conv(at + "_project_conv", out, inner, 1)
            norm(at + "_bn2", out)
            into, n = out, n + 1
    conv("_conv_head", wide(1280), into, 1)
    norm("_bn1", wide(1280))
    p["_fc.weight"] = torch.randn(CLASSES, wide(1280)) / math.sqrt(wide(1280))
    p["_fc.bias"] = torch.randn(CLASSES) * 0.3
    return {k: v.float().double() for k, v in p.items()}


def same(x, w, stride, groups):
    k = w.shape[2]
    pads = []
    for size in (x.shape[3], x.shape[2]):
        lack = max(0, (math.ceil(size / stride) - 1) * stride + k - size)
        pads += [lack // 2, lack - lack // 2]
    return F.conv2d(F.pad(x, pads), w, None, stride, 0, 1, groups)


def forward(p, x, training):
    def norm(name, x):
        return F.batch_norm(x, p[name + ".running_mean"], p[name + ".running_var"],
                            p[name + ".weight"], p[name + ".bias"], training, 0.01, 1e-3)

    swish = F.silu
    means = []
    x = swish(norm("_bn0", same(x, p["_conv_stem.weight"], 2, 1)))
    means.append(x.mean((2, 3)))
    n = 0
    for repeats, _, stride, expansion, _ in STAGES:
        for r in range(math.ceil(repeats * DEPTH)):
            at, h = "_blocks.%d." % n, x
            if expansion != 1:
                h = swish(norm(at + "_bn0", F.conv2d(h, p[at + "_expand_conv.weight"])))
            h = swish(norm(at + "_bn1", same(h, p[at + "_depthwise_conv.weight"],
                                             1 if r else stride, h.shape[1])))
            s = F.adaptive_avg_pool2d(h, 1)
            s = swish(F.conv2d(s, p[at + "_se_reduce.weight"], p[at + "_se_reduce.bias"]))
            s = F.conv2d(s, p[at + "_se_expand.weight"], p[at + "_se_expand.bias"])
            h = norm(at + "_bn2", F.conv2d(torch.sigmoid(s) * h, p[at + "_project_conv.weight"]))
            if (r or stride == 1) and h.shape[1] == x.shape[1]:
                h = h + x
            x, n = h, n + 1
        means.append(x.mean((2, 3)))
    x = swish(norm("_bn1", F.conv2d(x, p["_conv_head.weight"])))
    means.append(x.mean((2, 3)))
    return means, F.linear(means[-1], p["_fc.weight"], p["_fc.bias"])


torch.manual_seed(0)
p = make_parameters()
x = torch.randn(2, 3, 33, 28).float().double()
out = {k: v.float() for k, v in p.items()}
wanted = ["_conv_stem.weight", "_blocks.0._depthwise_conv.weight", "_blocks.1._se_reduce.bias",
          "_blocks.5._bn1.weight", "_blocks.7._project_conv.weight", "_fc.bias"]
for k in wanted:
    p[k].requires_grad_(True)
means, logits = forward(p, x, False)
(logits ** 2).mean().backward()
out["x"] = x.permute(0, 2, 3, 1).contiguous().float()
for i, m in enumerate(means):
    out["mean.%d" % i] = m
out["logits"] = logits
for k in wanted:
    out["grad." + k] = p[k].grad
q = {k: v.detach().clone() for k, v in p.items()}
out["training.logits"] = forward(q, x, True)[1]
for k in ("_bn0", "_blocks.3._bn1", "_bn1"):
    for s in (".running_mean", ".running_var"):
        out["training." + k + s] = q[k + s]
write(OUT, out)
