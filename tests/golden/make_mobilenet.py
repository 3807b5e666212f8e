#!/usr/bin/python3
"""Makes tests/golden/torch/mobilenet.safetensors, what tests/test_mobilenet.c compares with.

Run it from the root of the project with PyTorch (made with 1.13):

    /usr/bin/python3 tests/golden/make_mobilenet.py

The small MobileNetV3 with widths a twentieth and five classes, on pictures of 25 x 28: all of its parameters
under torchvision's names, random running statistics, and in evaluation the means of its maps before
each stride and of the last block's, the logits, and the gradients of the mean squared logit; then
the running statistics and logits of a step in training (without dropout). PyTorch computes in
float64; parameters and pictures are rounded to float32 first.
"""
import math

import torch
import torch.nn.functional as F

from safetensors_file import write

OUT = "tests/golden/torch/mobilenet.safetensors"
BLOCKS = [(3, 16, 16, True, False, 2), (3, 72, 24, False, False, 2), (3, 88, 24, False, False, 1),
          (5, 96, 40, True, True, 2), (5, 240, 40, True, True, 1), (5, 240, 40, True, True, 1),
          (5, 120, 48, True, True, 1), (5, 144, 48, True, True, 1), (5, 288, 96, True, True, 2),
          (5, 576, 96, True, True, 1), (5, 576, 96, True, True, 1)]
WIDTH, CLASSES = 0.05, 5


def eights(wanted):
    n = max(8, int(wanted + 4) // 8 * 8)
    return n + 8 if n < 0.9 * wanted else n


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

    def conv_norm(name, out, into, k):
        conv(name + ".0", out, into, k)
        norm(name + ".1", out)

    def linear(name, out, into):
        p[name + ".weight"] = torch.randn(out, into) / math.sqrt(into)
        p[name + ".bias"] = torch.randn(out) * 0.3

    into = eights(16 * WIDTH)
    conv_norm("features.0", into, 3, 3)
    for n, (k, expanded, out, squeeze, _, _) in enumerate(BLOCKS):
        at, layer = "features.%d.block." % (n + 1), 0
        expanded, out = eights(expanded * WIDTH), eights(out * WIDTH)
        if expanded != into:
            conv_norm(at + "0", expanded, into, 1)
            layer = 1
        conv_norm(at + str(layer), expanded, 1, k)
        if squeeze:
            layer += 1
            narrow = eights(expanded // 4)
            conv(at + "%d.fc1" % layer, narrow, expanded, 1, True)
            conv(at + "%d.fc2" % layer, expanded, narrow, 1, True)
        conv_norm(at + str(layer + 1), out, expanded, 1)
        into = out
    conv_norm("features.%d" % (len(BLOCKS) + 1), 6 * into, into, 1)
    linear("classifier.0", eights(1024 * WIDTH), 6 * into)
    linear("classifier.3", CLASSES, eights(1024 * WIDTH))
    return {k: v.float().double() for k, v in p.items()}


def forward(p, x, training):
    def conv_norm(name, x, stride=1, groups=1):
        w = p[name + ".0.weight"]
        x = F.conv2d(x, w, None, stride, w.shape[2] // 2, 1, groups)
        n = name + ".1"
        return F.batch_norm(x, p[n + ".running_mean"], p[n + ".running_var"], p[n + ".weight"],
                            p[n + ".bias"], training, 0.01, 1e-3)

    means = []
    x = F.hardswish(conv_norm("features.0", x, 2))
    for n, (_, expanded, _, squeeze, hard, stride) in enumerate(BLOCKS):
        at, layer, h = "features.%d.block." % (n + 1), 0, x
        act = F.hardswish if hard else F.relu
        if stride > 1:
            means.append(x.mean((2, 3)))
        if eights(expanded * WIDTH) != x.shape[1]:
            h, layer = act(conv_norm(at + "0", h)), 1
        h = act(conv_norm(at + str(layer), h, stride, h.shape[1]))
        if squeeze:
            layer += 1
            fc1, fc2 = at + "%d.fc1" % layer, at + "%d.fc2" % layer
            s = F.relu(F.conv2d(h.mean((2, 3), True), p[fc1 + ".weight"], p[fc1 + ".bias"]))
            h = h * F.hardsigmoid(F.conv2d(s, p[fc2 + ".weight"], p[fc2 + ".bias"]))
        h = conv_norm(at + str(layer + 1), h)
        x = h + x if stride == 1 and h.shape[1] == x.shape[1] else h
    means.append(x.mean((2, 3)))
    x = F.hardswish(conv_norm("features.%d" % (len(BLOCKS) + 1), x)).mean((2, 3))
    x = F.hardswish(F.linear(x, p["classifier.0.weight"], p["classifier.0.bias"]))
    return means, F.linear(x, p["classifier.3.weight"], p["classifier.3.bias"])


torch.manual_seed(0)
p = make_parameters()
x = torch.randn(2, 3, 25, 28).float().double()
out = {k: v.float() for k, v in p.items()}
wanted = ["features.0.0.weight", "features.1.block.0.0.weight", "features.4.block.0.0.weight",
          "features.5.block.2.fc1.bias", "features.9.block.3.1.weight", "classifier.0.bias"]
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
for k in ("features.0.1", "features.4.block.0.1", "features.12.1"):
    for s in (".running_mean", ".running_var"):
        out["training." + k + s] = q[k + s]
write(OUT, out)
