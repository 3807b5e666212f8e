#!/usr/bin/python3
"""Makes tests/golden/torch/*.safetensors, what tests/test_torch*.c compare mica with.

Run it from the root of the project with Debian's python3-torch (made with 1.13):

    /usr/bin/python3 tests/golden/make_torch.py [SET]...

where the sets are those at the end of this file; without any, all are made.

PyTorch computes in float64 throughout; inputs are rounded to float32 first, so that both sides
start from the same numbers in either precision. Images leave here channels last, kernels as
[O, kh, kw, I]; the initial parameters of the networks stay in PyTorch's own layout and names,
because loading them is part of what is tested.

The first set is layers, optimisers and the two networks.

the other sets but for
those below             CASE.x, .w, ... inputs; CASE.y the result; CASE.gy the gradient that comes
                        in; CASE.dx, .dw, ... those that go out
optimisers.safetensors  w and g.0 .. g.9, the start and the gradients of ten steps; CASE [10, ...]
                        the weights after each
schedules.safetensors   CASE [40], the factor of the base rate at each step
steps.safetensors       table, ids, grads: row gradients of ten steps, CASE [10, ...] the table after
                        each; a, b, ga.N, gb.N: two weights and their gradients, norm.N before
                        clipping to 5, a.N, b.N after each step, mean_a.N, mean_b.N their averages
rules.safetensors       as optimisers and steps for further rules: w, g.N, CASE; table, ids, grads,
                        rows_CASE; those of LAMB and LARS are the papers' formulas, below
phases.safetensors      as schedules: those of a power, and of phases
resnet, vit.safetensors initial parameters; NAME_run.safetensors the pictures, labels, the losses
                        of ten steps and final.PARAMETER
"""
import json
import os
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "torch")
TYPES = {"float32": "F32", "float64": "F64", "int64": "I64"}
torch.manual_seed(20)
torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)


def write(name, tensors):
    header, at, parts = {}, 0, []
    for key, value in tensors.items():
        a = np.ascontiguousarray(value.detach().numpy() if torch.is_tensor(value) else value)
        shape = list(value.shape)
        header[key] = {"dtype": TYPES[str(a.dtype)], "shape": shape,
                       "data_offsets": [at, at + a.nbytes]}
        parts.append(a.tobytes())
        at += a.nbytes
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with open(os.path.join(OUT, name + ".safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head + b"".join(parts))


def rounded(x):
    return x.float().double()


def draw(*shape):
    return rounded(torch.randn(shape))


def last(x):
    """Channels last: [N, C, H, W] to [N, H, W, C], [N, C, L] to [N, L, C], kernels alike."""
    return x.permute(0, *range(2, x.dim()), 1)


layers = {}


def case(name, fn, inputs, images=(), constants=None):
    """Store the inputs, y = fn(inputs) and the gradients; `images` are the names, of inputs and
    of y, that are turned to channels last."""
    leaves = {k: v.clone().requires_grad_() for k, v in inputs.items()}
    y = fn(**leaves)
    gy = draw(*y.shape)
    grads = torch.autograd.grad(y, list(leaves.values()), gy)

    def edge(key, v):
        return last(v) if key in images else v
    for (k, v), g in zip(leaves.items(), grads):
        layers[f"{name}.{k}"] = edge(k, v).float()
        layers[f"{name}.d{k}"] = edge(k, g)
    layers[f"{name}.y"] = edge("y", y)
    layers[f"{name}.gy"] = edge("y", gy).float()
    for k, v in (constants or {}).items():
        layers[f"{name}.{k}"] = v if v.dtype == torch.int64 else v.float()


XY, XWY = ("x", "y"), ("x", "w", "y")


def make_layers():
    image = draw(1, 4, 7, 8)
    case("conv_strided", lambda x, w, b: F.conv2d(x, w, b, stride=(2, 1), padding=(1, 2)),
         {"x": image, "w": draw(6, 4, 3, 3), "b": draw(6)}, XWY)
    case("conv_grouped", lambda x, w, b: F.conv2d(x, w, b, padding=1, groups=2),
         {"x": image, "w": draw(6, 2, 3, 3), "b": draw(6)}, XWY)
    case("conv_depthwise", lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1, groups=4),
         {"x": image, "w": draw(4, 1, 3, 3), "b": draw(4)}, XWY)
    case("conv_dilated", lambda x, w, b: F.conv2d(x, w, b, dilation=2, padding=2),
         {"x": image, "w": draw(3, 4, 3, 3), "b": draw(3)}, XWY)
    case("conv_transpose", lambda x, w, b: F.conv_transpose2d(
        x, w, b, stride=2, padding=1, output_padding=1, groups=2),
        {"x": draw(2, 4, 4, 5), "w": draw(4, 3, 3, 3), "b": draw(6)}, XWY)

    x, w, b = draw(4, 5, 3, 3) * 2 + 0.5, draw(5), draw(5)
    x = rounded(x)
    case("batch_norm", lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
         {"x": x, "w": w, "b": b}, XY)
    bn = nn.BatchNorm2d(5)
    for _ in range(3):
        bn(x)
    layers["batch_norm.running_mean"] = bn.running_mean
    layers["batch_norm.running_var"] = bn.running_var
    rows = draw(3, 7, 8)
    case("layer_norm", lambda x, w, b: F.layer_norm(x, (8,), w, b, 1e-5),
         {"x": rows, "w": draw(8), "b": draw(8)})
    case("group_norm", lambda x, w, b: F.group_norm(x, 2, w, b, 1e-5),
         {"x": draw(2, 6, 4, 3), "w": draw(6), "b": draw(6)}, XY)
    case("gelu", lambda x: F.gelu(x), {"x": rounded(draw(40) * 3)})
    # A transposed gradient, where the float32 kernel of this release is wrong.
    case("gelu_transposed", lambda x: F.gelu(x).t(), {"x": draw(6, 5)})
    case("gelu_tanh", lambda x: F.gelu(x, approximate="tanh"), {"x": rounded(draw(40) * 3)})
    case("softmax", lambda x: F.softmax(x, 1), {"x": rows})
    case("log_softmax", lambda x: F.log_softmax(x, -1), {"x": rounded(rows * 20)})

    case("max_pool", lambda x: F.max_pool2d(x, 3, 2, 1), {"x": image}, XY)
    case("max_pool_ceil", lambda x: F.max_pool2d(x, 3, 2, 0, ceil_mode=True), {"x": image}, XY)
    case("max_pool_dilated", lambda x: F.max_pool2d(x, 2, 1, 0, dilation=2), {"x": image}, XY)
    case("avg_pool", lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=True),
         {"x": image}, XY)
    case("avg_pool_ceil", lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True,
                                                 count_include_pad=False), {"x": image}, XY)
    case("avg_pool_ceil_padding", lambda x: F.avg_pool2d(
        x, 3, 2, 1, ceil_mode=True, count_include_pad=True), {"x": image}, XY)
    case("adaptive_avg", lambda x: F.adaptive_avg_pool2d(x, (4, 3)), {"x": image}, XY)
    case("adaptive_max", lambda x: F.adaptive_max_pool2d(x, (4, 3)), {"x": image}, XY)
    for name, size, align in (("up", (11, 12), False), ("down", (5, 3), False),
                              ("align", (11, 5), True)):
        case("resize_" + name, lambda x: F.interpolate(x, size, mode="bilinear",
                                                       align_corners=align), {"x": image}, XY)

    # [N, L, C] self-attention by the framework's own module, then with a causal mask.
    mha = nn.MultiheadAttention(8, 2, batch_first=True)
    for p in mha.parameters():
        p.data = rounded(torch.randn_like(p) * 0.4)
    names = ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"]
    for name, mask in (("attention", None),
                       ("attention_causal", torch.triu(torch.full((6, 6), -np.inf), 1))):
        def attend(x, wi, bi, wo, bo):
            s = x.transpose(0, 1)  # [L, N, C]
            y, _ = F.multi_head_attention_forward(s, s, s, 8, 2, wi, bi, None, None, False, 0.0,
                                                  wo, bo, True, None, False, mask)
            return y.transpose(0, 1)
        values = dict(mha.named_parameters())
        case(name, attend, {"x": draw(2, 6, 8), **{
            k: values[n].data for k, n in zip(("wi", "bi", "wo", "bo"), names)}})

    logits, labels = rounded(draw(6, 5) * 3), torch.tensor([0, 4, 2, 2, 1, 3])
    ignored = torch.tensor([0, -7, 2, 2, -7, 3])
    weights = rounded(torch.rand(5) + 0.2)
    case("ce", lambda x: F.cross_entropy(x, labels), {"x": logits}, (), {"labels": labels})
    case("ce_smooth", lambda x: F.cross_entropy(x, labels, label_smoothing=0.2), {"x": logits},
         (), {"labels": labels})
    case("ce_weighted", lambda x: F.cross_entropy(x, labels, weights), {"x": logits}, (),
         {"labels": labels, "weights": weights})
    case("ce_all", lambda x: F.cross_entropy(x, ignored, weights, ignore_index=-7,
                                             label_smoothing=0.1), {"x": logits}, (),
         {"labels": ignored, "weights": weights})
    case("ce_each", lambda x: F.cross_entropy(x, ignored, weights, ignore_index=-7,
                                              label_smoothing=0.1, reduction="none"),
         {"x": logits}, (), {"labels": ignored, "weights": weights})
    soft = rounded(F.softmax(draw(6, 5), 1))
    case("ce_soft", lambda x: F.cross_entropy(x, soft), {"x": logits}, (), {"target": soft})
    case("kl", lambda x: F.kl_div(F.log_softmax(x, 1), soft, reduction="batchmean"),
         {"x": logits}, (), {"target": soft})
    target = draw(6, 5)
    case("huber", lambda x: F.huber_loss(x, target, delta=0.7), {"x": logits}, (),
         {"target": target})
    case("bce", lambda x: F.binary_cross_entropy_with_logits(x, soft), {"x": logits}, (),
         {"target": soft})
    write("layers", layers)


def make_operations():
    """What the file of layers does not have."""
    layers.clear()
    torch.manual_seed(2)
    image, line = draw(2, 4, 6, 7), draw(2, 4, 9)
    case("transpose_dilated", lambda x, w, b: F.conv_transpose2d(
        x, w, b, stride=(2, 1), padding=(1, 0), output_padding=(1, 0), groups=2,
        dilation=(1, 2)), {"x": image, "w": draw(4, 3, 3, 2), "b": draw(6)}, XWY)
    case("conv_asymmetric", lambda x, w, b: F.conv2d(F.pad(x, (0, 1, 2, 1)), w, b, stride=2),
         {"x": image, "w": draw(5, 4, 3, 3), "b": draw(5)}, XWY)
    case("conv1d", lambda x, w, b: F.conv1d(x, w, b, stride=2, padding=2, dilation=2, groups=2),
         {"x": line, "w": draw(6, 2, 3), "b": draw(6)}, XWY)
    case("transpose1d", lambda x, w, b: F.conv_transpose1d(
        x, w, b, stride=3, padding=1, output_padding=2),
        {"x": line, "w": draw(4, 3, 4), "b": draw(3)}, XWY)
    case("instance_norm", lambda x, w, b: F.instance_norm(x, weight=w, bias=b),
         {"x": image, "w": draw(4), "b": draw(4)}, XY)
    mean, var = draw(4), rounded(torch.rand(4) + 0.5)
    case("batch_norm_fixed", lambda x, w, b: F.batch_norm(x, mean, var, w, b, False),
         {"x": image, "w": draw(4), "b": draw(4)}, XY, {"mean": mean, "var": var})
    rows, wide = draw(5, 7), rounded(draw(60) * 3)
    for name in ("elu", "selu", "mish", "softplus", "hardswish", "hardsigmoid", "silu",
                 "leaky_relu", "relu", "logsigmoid", "tanh", "sigmoid"):
        case(name, lambda x: getattr(F, name)(x), {"x": wide})
    case("normalize", lambda x: F.normalize(x, eps=1e-8), {"x": rows})
    case("cosine", lambda x, z: F.cosine_similarity(x[:, None], z[None], -1, 1e-8),
         {"x": rows, "z": draw(4, 7)})
    case("cdist", lambda x, z: torch.cdist(x, z, compute_mode="donot_use_mm_for_euclid_dist") ** 2,
         {"x": rows, "z": draw(4, 7)})
    case("logsumexp", lambda x: torch.logsumexp(x, 1), {"x": rounded(rows * 10)})
    case("variance", lambda x: x.var(1), {"x": rows})
    case("topk", lambda x: x.topk(3, -1)[0], {"x": rows})
    case("sort", lambda x: x.sort(stable=True, dim=-1)[0], {"x": rows})
    case("largest", lambda x: x.max(0)[0], {"x": rows})
    ids = torch.tensor([[3, 0, 3], [1, 4, 4]])
    case("embedding", lambda x: F.embedding(ids, x), {"x": rows}, (), {"ids": ids})
    case("gather", lambda x: x.gather(0, ids[:, :3]), {"x": rows}, (), {"ids": ids})
    case("nearest", lambda x: F.interpolate(x, (9, 4), mode="nearest"), {"x": image}, XY)
    for name, size, align in (("bicubic_up", (11, 9), False), ("bicubic_down", (4, 3), False),
                              ("bicubic_align", (9, 5), True)):
        case(name, lambda x: F.interpolate(x, size, mode="bicubic", align_corners=align),
             {"x": image}, XY)
    for name, size, mode in (("area", (3, 4), "area"),):
        case(name, lambda x: F.interpolate(x, size, mode=mode), {"x": image}, XY)
    case("smooth_bilinear", lambda x: F.interpolate(x, (3, 4), mode="bilinear", antialias=True),
         {"x": image}, XY)
    case("smooth_bicubic", lambda x: F.interpolate(x, (3, 11), mode="bicubic", antialias=True),
         {"x": image}, XY)

    # q, k, v [N, L, heads, d] with an additive bias, masked keys, and grouped queries.
    q, k, v = draw(2, 3, 4, 5), draw(2, 6, 4, 5), draw(2, 6, 4, 2)
    bias, keep = draw(4, 3, 6), torch.tensor([[1, 1, 1, 0, 1, 1], [0, 1, 1, 1, 1, 0]])

    def scores(q, k, bias=0.0):
        return torch.einsum("nihd,njhd->nhij", q, k) / q.shape[-1] ** 0.5 + bias

    def weigh(s, v):
        return torch.einsum("nhij,njhd->nihd", F.softmax(s, -1), v)
    case("attention_bias", lambda q, k, v, bias: weigh(scores(q, k, bias), v),
         {"q": q, "k": k, "v": v, "bias": bias})
    case("attention_mask", lambda q, k, v: weigh(
        scores(q, k).masked_fill(keep[:, None, None] == 0, -np.inf), v),
        {"q": q, "k": k, "v": v}, (), {"keep": keep.double()})
    case("attention_grouped", lambda q, k, v: weigh(
        scores(q, k.repeat_interleave(2, 2)), v.repeat_interleave(2, 2)),
        {"q": q, "k": k[:, :, :2], "v": v[:, :, :2]})
    far = (torch.arange(3)[:, None] + 3 - torch.arange(6)[None]).abs() >= 2
    case("attention_window", lambda q, k, v: weigh(scores(q, k).masked_fill(far, -np.inf), v),
         {"q": q, "k": k, "v": v})
    case("attention_lse", lambda q, k: torch.logsumexp(scores(q, k), -1), {"q": q, "k": k})

    logits, target = rounded(draw(6, 5) * 3), rounded(torch.rand(6, 5))
    weight = rounded(torch.rand(5) * 3)
    case("bce_weighted", lambda x: F.binary_cross_entropy_with_logits(
        x, target, pos_weight=weight), {"x": logits}, (), {"target": target, "weight": weight})
    case("mse", lambda x, target: F.mse_loss(x, target), {"x": logits, "target": target})
    case("l1", lambda x, target: F.l1_loss(x, target), {"x": logits, "target": target})
    write("operations", layers)


def make_ragged():
    """Bags of embeddings and segments of rows; an empty bag among them."""
    layers.clear()
    torch.manual_seed(7)
    table, weights = draw(9, 5), draw(8)
    ids, offsets = torch.tensor([3, 0, 3, 8, 1, 1, 4, 3]), torch.tensor([0, 2, 2, 7, 8])
    given = {"ids": ids, "offsets": offsets}
    for mode in ("sum", "mean", "max"):
        case("bag_" + mode, lambda x: F.embedding_bag(
            ids, x, offsets, mode=mode, include_last_offset=True), {"x": table}, (), given)
    case("bag_weighted", lambda x, w: F.embedding_bag(
        ids, x, offsets, mode="sum", per_sample_weights=w, include_last_offset=True),
        {"x": table, "w": weights}, (), given)
    square = torch.tensor([[2, 2, 5], [0, 7, 1]])
    case("bag_even", lambda x: F.embedding_bag(square, x, mode="mean"), {"x": table}, (),
         {"ids": square})
    for mode, fn in (("sum", lambda r: r.sum(0)), ("mean", lambda r: r.mean(0)),
                     ("max", lambda r: r.max(0)[0])):
        case("segment_" + mode, lambda x: torch.stack(
            [fn(x[a:b]) if b > a else torch.zeros(2, 3) for a, b in zip(offsets, offsets[1:])]),
            {"x": draw(8, 2, 3)}, (), {"offsets": offsets})
    write("ragged", layers)
def filtered(x, sizes, f, reach, widen):
    """[N, C, ..] at other sizes by the definition: each place the normalised sum of all old ones
    times f of their distance; a filter that is not widened repeats the edges."""
    for axis, out in enumerate(sizes, 2):
        size = x.shape[axis]
        ratio = size / out
        scale, beyond = (max(ratio, 1.0), 0) if widen else (1.0, reach)
        places = torch.arange(-beyond, size + beyond, dtype=torch.float64)
        centres = (torch.arange(out, dtype=torch.float64) + 0.5) * ratio - 0.5
        d = ((places[None] - centres[:, None]) / scale).abs()
        w = torch.where(d < reach, f(d), torch.zeros_like(d))
        w = w / w.sum(1, keepdim=True)
        m = torch.zeros(out, size).index_add_(1, places.clamp(0, size - 1).long(), w)
        x = (x.movedim(axis, -1) @ m.T).movedim(-1, axis)
    return x


def cubic(a):
    return lambda d: torch.where(d < 1, ((a + 2) * d - (a + 3)) * d * d + 1,
                                 ((a * d - 5 * a) * d + 8 * a) * d - 4 * a)


def blocks(x, r):
    """[N, C, H, W] to [N, C, H / r, r, W / r, r]."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // r, r, w // r, r)


def make_spatial():
    """Sizes, edges, windows and phases of lines, images and volumes."""
    layers.clear()
    torch.manual_seed(4)
    line, image, volume = draw(2, 3, 7), draw(2, 3, 6, 8), draw(1, 2, 4, 5, 3)

    def resize(name, x, **options):
        case(name, lambda x: F.interpolate(x, **options), {"x": x}, XY)
    resize("linear_line", line, size=11, mode="linear")
    resize("linear_line_align", line, size=4, mode="linear", align_corners=True)
    resize("nearest_line", line, size=9, mode="nearest")
    resize("trilinear", volume, size=(7, 3, 5), mode="trilinear")
    resize("trilinear_align", volume, size=(2, 9, 4), mode="trilinear", align_corners=True)
    resize("nearest_volume", volume, size=(3, 7, 4), mode="nearest")
    resize("area_volume", volume, size=(3, 2, 5), mode="area")
    resize("nearest_centre", image, size=(9, 5), mode="nearest-exact")
    # Factors without rounding in float32, which PyTorch may use; sizes are floor(factor size).
    for mode in ("nearest", "nearest-exact", "bilinear", "bicubic"):
        resize("scaled_" + mode, image, scale_factor=(0.6875, 1.4375), mode=mode)
    for mode in ("bilinear", "bicubic"):
        resize("scaled_smooth_" + mode, image, scale_factor=(0.6875, 1.4375), mode=mode,
               antialias=True)
    lanczos = lambda d: torch.sinc(d) * torch.sinc(d / 3)
    for name, f, reach, widen in (("soft", cubic(-0.5), 2, False),
                                  ("sharp", cubic(-0.75), 2, True), ("lanczos", lanczos, 3, True)):
        for way, sizes in (("up", (9, 11)), ("down", (3, 5))):
            case(f"{name}_{way}", lambda x: filtered(x, sizes, f, reach, widen), {"x": image}, XY)

    for mode in ("reflect", "replicate", "circular"):
        for name, x, sides in (("line", line, (3, 6)), ("image", image, (2, 5, 4, 0)),
                               ("volume", volume, (1, 2, 3, 0, 2, 3))):
            case(f"{mode}_{name}", lambda x: F.pad(x, sides, mode), {"x": x}, XY)
    case("symmetric_image", lambda x: torch.cat(
        [x[:, :, :4].flip(2), x, x[:, :, -6:].flip(2)], 2), {"x": image}, XY)

    def windows(x):
        x = F.pad(x, (0, 1, 0, 2))
        n, c, h, w = x.shape
        x = x.reshape(n, c, h // 4, 4, w // 3, 3).permute(0, 2, 4, 3, 5, 1)
        return x.reshape(-1, 4, 3, c)
    case("windows", windows, {"x": image}, ("x",))

    cut = {"kernel_size": (3, 2), "dilation": (1, 2), "padding": (1, 2), "stride": (2, 1)}

    def patches(x):  # [N, C taps, positions] to [N, h, w, taps, C]
        y = F.unfold(x, **cut).reshape(2, 3, 6, 3, 10)
        return y.permute(0, 3, 4, 2, 1)

    def fold(x):
        return F.fold(x.permute(0, 4, 3, 1, 2).reshape(2, 18, 30), (6, 8), **cut)
    case("unfold", patches, {"x": image}, ("x",))
    case("fold", fold, {"x": draw(2, 3, 10, 6, 3)}, ("y",))

    many = draw(2, 8, 3, 5)
    case("shuffle", lambda x: F.pixel_shuffle(x, 2), {"x": many}, XY)
    case("unshuffle", lambda x: F.pixel_unshuffle(x, 2), {"x": image}, XY)
    case("space_to_depth", lambda x: blocks(x, 2).permute(0, 3, 5, 1, 2, 4).flatten(1, 3),
         {"x": image}, XY)
    case("merging", lambda x: torch.cat(
        [x[:, :, a::2, b::2] for b in (0, 1) for a in (0, 1)], 1), {"x": image}, XY)
    write("spatial", layers)


def make_activations():
    """Activations, masks, margins and normalisation over some of the positions."""
    layers.clear()
    torch.manual_seed(5)
    wide, rows = rounded(draw(60) * 3), draw(6, 8)
    for name in ("celu", "softsign", "tanhshrink", "relu6", "hardtanh", "hardshrink",
                 "softshrink"):
        case(name, lambda x: getattr(F, name)(x), {"x": wide})
    case("prelu", lambda x, w: F.prelu(x, w), {"x": draw(5, 6), "w": rounded(torch.rand(6))})
    case("prelu_one", lambda x, w: F.prelu(x, w), {"x": rows, "w": rounded(torch.rand(1))})
    case("glu", lambda x: F.glu(x), {"x": rows})
    case("swiglu", lambda x: x[:, :4] * F.silu(x[:, 4:]), {"x": rows})
    mask = torch.arange(48).reshape(6, 8) % 3
    case("masked_fill", lambda x: x.masked_fill(mask != 0, -1.5), {"x": rows}, (), {"mask": mask})

    labels = torch.tensor([1, 0, 7, 3, 3, 5])
    for name, p, margin in (("margin", 1, 1.0), ("margin_squared", 2, 1.75)):
        case(name, lambda x: F.multi_margin_loss(x, labels, p=p, margin=margin), {"x": rows}, (),
             {"labels": labels})
    signs = rounded(torch.sign(draw(6, 8)))
    case("hinge", lambda x: (1 - signs * x).clamp(min=0).mean(), {"x": rows}, (), {"signs": signs})

    def focal(x, gamma):
        ce = F.cross_entropy(x, labels, reduction="none")
        return ((1 - torch.exp(-ce)) ** gamma * ce).mean()
    case("focal", lambda x: focal(x, 2), {"x": rounded(rows * 3)}, (), {"labels": labels})
    target = (signs + 1) / 2

    def binary_focal(x):
        ce = F.binary_cross_entropy_with_logits(x, target, reduction="none")
        p = torch.sigmoid(x)
        right = p * target + (1 - p) * (1 - target)
        return ((0.25 * target + 0.75 * (1 - target)) * (1 - right) ** 2 * ce).mean()
    case("binary_focal", binary_focal, {"x": rounded(rows * 3)}, (), {"target": target})

    def dice(x):
        p = torch.sigmoid(x)
        return 1 - ((2 * (p * target).sum(1) + 1) / (p.sum(1) + target.sum(1) + 1)).mean()
    case("dice", dice, {"x": rows}, (), {"target": target})

    image, some = draw(2, 3, 4, 5), torch.arange(40).reshape(2, 4, 5) % 3

    def masked_norm(x, w, b):
        channels = last(x)
        out = torch.zeros_like(channels)
        out[some != 0] = F.batch_norm(channels[some != 0], None, None, w, b, True)
        return out.permute(0, 3, 1, 2)
    case("masked_batch_norm", masked_norm, {"x": image, "w": draw(3), "b": draw(3)}, XY,
         {"some": some})

    def response(x, w, b):
        norm = x.norm(dim=(2, 3), keepdim=True)
        share = norm / (norm.mean(1, keepdim=True) + 1e-6)
        return w[:, None, None] * (x * share) + b[:, None, None] + x
    case("response", response, {"x": image, "w": draw(3), "b": draw(3)}, XY)
    write("activations", layers)
def rotary_table(positions, dim, base, scaling, s=1.0, original=0, fast=32, slow=1):
    """Angles [.., dim / 2] and the factor, as the papers on RoPE and YaRN give them."""
    i = torch.arange(dim // 2)
    theta, factor = base ** (-2 * i / dim), 1.0
    if scaling == "linear":
        theta = theta / s
    elif scaling == "yarn" and s > 1:
        def crossing(n):
            return dim * np.log(original / (2 * np.pi * n)) / (2 * np.log(base))
        low = max(np.floor(crossing(fast)), 0)
        high = min(np.ceil(crossing(slow)), dim - 1)
        ramp = ((i - low) / (high + (0.001 if low == high else 0) - low)).clamp(0, 1)
        theta = theta * (1 - ramp) + theta / s * ramp
        factor = 0.1 * np.log(s) + 1
    return positions[..., None].double() * theta, factor


def turn(x, angles, factor, layout):
    """By complex numbers: pairs are (2 i, 2 i + 1), or (i, i + dim / 2)."""
    dim = 2 * angles.shape[-1]
    part, rest = x[..., :dim], x[..., dim:]
    split = part.unflatten(-1, (-1, 2)) if layout == "pairs" else torch.stack(
        part.chunk(2, -1), -1)
    z = torch.view_as_complex(split.contiguous()) * torch.polar(
        torch.full_like(angles, factor), angles)[..., None, :]
    y = torch.view_as_real(z)
    y = y.flatten(-2) if layout == "pairs" else torch.cat((y[..., 0], y[..., 1]), -1)
    return torch.cat((y, rest), -1)


def make_rotary():
    """Rotary positions [N, L, h, d]."""
    layers.clear()
    torch.manual_seed(11)
    tokens = torch.arange(5)
    far = torch.tensor([[0, 3, 1], [70001, 2, 50000]])
    for name, positions, dim, shape, layout, options in (
            ("halves", tokens, 8, (2, 5, 3, 8), "halves", (10000.0, "")),
            ("pairs", tokens, 8, (2, 5, 3, 8), "pairs", (10000.0, "")),
            ("part", tokens + 4, 4, (1, 5, 2, 10), "pairs", (500.0, "")),
            ("linear", tokens, 6, (1, 5, 2, 6), "halves", (10000.0, "linear", 8.0)),
            ("yarn", tokens + 300, 16, (1, 5, 2, 16), "halves", (10000.0, "yarn", 4.0, 256)),
            ("yarn_ids", far, 64, (2, 3, 1, 64), "pairs", (1e6, "yarn", 8.0, 6272)),
            ("yarn_short", tokens, 8, (1, 5, 1, 8), "halves", (10000.0, "yarn", 0.5, 256))):
        angles, factor = rotary_table(positions, dim, *options)
        case(name, lambda x: turn(x, angles, factor, layout), {"x": draw(*shape)}, (),
             {"ids": far} if name == "yarn_ids" else None)
    write("rotary", layers)


def make_gpt():
    """Decoders with the names and layouts of GPT-2 and of Llama: weights, logits, gradients."""
    layers.clear()
    torch.manual_seed(13)
    dim, depth, vocabulary, length = 24, 2, 11, 7
    tokens = torch.randint(0, vocabulary, (2, length))
    mask = torch.full((length, length), -np.inf).triu(1)

    def attend(q, k, v):
        groups = q.shape[2] // k.shape[2]
        k, v = (z.repeat_interleave(groups, 2) for z in (k, v))
        s = torch.einsum("nqhd,nkhd->nhqk", q, k) / q.shape[-1] ** 0.5 + mask
        return torch.einsum("nhqk,nkhd->nqhd", s.softmax(-1), v).flatten(2)

    def store(name, weights, forward):
        leaves = {k: v.requires_grad_() for k, v in weights.items()}
        y = forward(leaves)
        gy = draw(*y.shape)
        grads = torch.autograd.grad(y, list(leaves.values()), gy)
        for (k, v), g in zip(leaves.items(), grads):
            layers[f"{name}.param.{k}"] = v.float()
            layers[f"{name}.grad.{k}"] = g
        layers[f"{name}.tokens"], layers[f"{name}.y"] = tokens, y
        layers[f"{name}.gy"] = gy.float()

    def small(*shape):
        return rounded(0.3 * torch.randn(shape))

    def gpt2():
        w = {"wte.weight": small(vocabulary, dim), "wpe.weight": small(length, dim)}
        for i in range(depth):
            for n in ("ln_1", "ln_2"):
                w[f"h.{i}.{n}.weight"], w[f"h.{i}.{n}.bias"] = 1 + small(dim), small(dim)
            for n, o, p in (("attn.c_attn", 3 * dim, dim), ("attn.c_proj", dim, dim),
                            ("mlp.c_fc", 4 * dim, dim), ("mlp.c_proj", dim, 4 * dim)):
                w[f"h.{i}.{n}.weight"], w[f"h.{i}.{n}.bias"] = small(p, o), small(o)
        w["ln_f.weight"], w["ln_f.bias"] = 1 + small(dim), small(dim)

        def forward(w):
            def norm(n, x):
                return F.layer_norm(x, (dim,), w[n + ".weight"], w[n + ".bias"], 1e-5)

            def linear(n, x):
                return x @ w[n + ".weight"] + w[n + ".bias"]
            x = w["wte.weight"][tokens] + w["wpe.weight"]
            for i in range(depth):
                b = f"h.{i}."
                q, k, v = (z.unflatten(-1, (3, -1)) for z in
                           linear(b + "attn.c_attn", norm(b + "ln_1", x)).chunk(3, -1))
                x = x + linear(b + "attn.c_proj", attend(q, k, v))
                h = linear(b + "mlp.c_fc", norm(b + "ln_2", x))
                h = h * 0.5 * (1 + torch.tanh((2 / np.pi) ** 0.5 * (h + 0.044715 * h ** 3)))
                x = x + linear(b + "mlp.c_proj", h)
            return norm("ln_f", x) @ w["wte.weight"].t()
        store("gpt2", w, forward)

    def llama():
        heads, kv, hidden = 6, 2, 20
        w = {"model.embed_tokens.weight": small(vocabulary, dim)}
        for i in range(depth):
            b = f"model.layers.{i}."
            w[b + "input_layernorm.weight"] = 1 + small(dim)
            w[b + "post_attention_layernorm.weight"] = 1 + small(dim)
            for n, o, p in (("self_attn.q_proj", dim, dim),
                            ("self_attn.k_proj", kv * dim // heads, dim),
                            ("self_attn.v_proj", kv * dim // heads, dim),
                            ("self_attn.o_proj", dim, dim), ("mlp.gate_proj", hidden, dim),
                            ("mlp.up_proj", hidden, dim), ("mlp.down_proj", dim, hidden)):
                w[b + n + ".weight"] = small(o, p)
        w["model.norm.weight"] = 1 + small(dim)
        w["lm_head.weight"] = small(vocabulary, dim)
        angles, _ = rotary_table(torch.arange(length), dim // heads, 10000.0, "")

        def forward(w):
            def norm(n, x):
                return x * (x.pow(2).mean(-1, True) + 1e-5).rsqrt() * w[n + ".weight"]
            x = w["model.embed_tokens.weight"][tokens]
            for i in range(depth):
                b = f"model.layers.{i}."
                h = norm(b + "input_layernorm", x)
                q, k, v = ((h @ w[b + f"self_attn.{n}_proj.weight"].t()).unflatten(
                    -1, (-1, dim // heads)) for n in "qkv")
                q, k = (turn(z, angles, 1.0, "halves") for z in (q, k))
                x = x + attend(q, k, v) @ w[b + "self_attn.o_proj.weight"].t()
                h = norm(b + "post_attention_layernorm", x)
                h = F.silu(h @ w[b + "mlp.gate_proj.weight"].t()) * (
                    h @ w[b + "mlp.up_proj.weight"].t())
                x = x + h @ w[b + "mlp.down_proj.weight"].t()
            return norm("model.norm", x) @ w["lm_head.weight"].t()
        store("llama", w, forward)

    gpt2()
    llama()
    write("gpt", layers)
def make_grids():
    """Sampling of lines, images and volumes at places of a grid, and affine grids."""
    layers.clear()
    torch.manual_seed(6)
    line, image, volume = draw(2, 3, 6), draw(2, 3, 4, 6), draw(1, 2, 3, 4, 5)
    points = {"line": (2, 7, 1), "image": (2, 4, 5, 2), "volume": (1, 2, 3, 4, 3)}

    def sample(x, grid, mode, edge, corners):
        if x.dim() == 3:  # a line is an image of one row
            grid = torch.stack([grid[..., 0], torch.zeros_like(grid[..., 0])], -1)[:, None]
            return F.grid_sample(x[:, :, None], grid, mode, edge, corners)[:, :, 0]
        return F.grid_sample(x, grid, mode, edge, corners)
    for name, x, modes in (("line", line, ("nearest", "bilinear")),
                           ("image", image, ("nearest", "bilinear", "bicubic")),
                           ("volume", volume, ("nearest", "bilinear"))):
        for mode in modes:
            for edge in ("zeros", "border", "reflection"):
                for corners in (False, True):
                    case(f"{name}_{mode}_{edge}_{int(corners)}",
                         lambda x, grid: sample(x, grid, mode, edge, corners),
                         {"x": x, "grid": rounded(torch.rand(points[name]) * 3.6 - 1.8)}, XY)
    for corners in (False, True):
        case(f"affine_image_{int(corners)}", lambda x: F.affine_grid(x, (2, 1, 3, 5), corners),
             {"x": draw(2, 2, 3)})
        case(f"affine_volume_{int(corners)}", lambda x: F.affine_grid(x, (1, 1, 2, 1, 4), corners),
             {"x": draw(1, 3, 4)})
    write("grids", layers)


def make_volumes():
    """Convolution and pooling of volumes, pooling of lines."""
    layers.clear()
    torch.manual_seed(5)
    volume = draw(2, 4, 5, 6, 7)
    case("conv3d", lambda x, w, b: F.conv3d(x, w, b, stride=(2, 1, 1), padding=(1, 0, 2),
                                            dilation=(1, 2, 1)),
         {"x": volume, "w": draw(5, 4, 3, 2, 3), "b": draw(5)}, XWY)
    case("conv3d_grouped", lambda x, w, b: F.conv3d(x, w, b, padding=1, groups=2),
         {"x": volume, "w": draw(6, 2, 3, 3, 3), "b": draw(6)}, XWY)
    case("conv3d_depthwise", lambda x, w, b: F.conv3d(x, w, b, padding=(1, 1, 2), groups=4),
         {"x": volume, "w": draw(4, 1, 3, 3, 5), "b": draw(4)}, XWY)
    case("conv3d_asymmetric", lambda x, w, b: F.conv3d(F.pad(x, (0, 1, 2, 1, 1, 0)), w, b),
         {"x": volume, "w": draw(3, 4, 2, 3, 2), "b": draw(3)}, XWY)
    case("transpose3d", lambda x, w, b: F.conv_transpose3d(
        x, w, b, stride=(2, 1, 3), padding=(1, 0, 1), output_padding=(1, 0, 2), groups=2,
        dilation=(1, 2, 1)), {"x": draw(1, 4, 3, 4, 2), "w": draw(4, 3, 3, 2, 4), "b": draw(6)},
        XWY)
    line = draw(2, 3, 9)
    case("max_pool1d", lambda x: F.max_pool1d(x, 3, 2, 1), {"x": line}, XY)
    case("avg_pool1d", lambda x: F.avg_pool1d(x, 4, 3, 2, ceil_mode=True), {"x": line}, XY)
    case("adaptive_avg1d", lambda x: F.adaptive_avg_pool1d(x, 4), {"x": line}, XY)
    case("adaptive_max1d", lambda x: F.adaptive_max_pool1d(x, 4), {"x": line}, XY)
    case("max_pool3d", lambda x: F.max_pool3d(x, (2, 3, 2), (1, 2, 3), (1, 1, 0), (2, 1, 1),
                                              ceil_mode=True), {"x": volume}, XY)
    case("avg_pool3d", lambda x: F.avg_pool3d(x, (2, 3, 2), (1, 2, 3), (1, 1, 0),
                                              count_include_pad=False), {"x": volume}, XY)
    case("avg_pool3d_padding", lambda x: F.avg_pool3d(x, (2, 3, 2), (1, 2, 3), (1, 1, 0)),
         {"x": volume}, XY)
    case("adaptive_avg3d", lambda x: F.adaptive_avg_pool3d(x, (2, 3, 5)), {"x": volume}, XY)
    case("adaptive_max3d", lambda x: F.adaptive_max_pool3d(x, (2, 3, 5)), {"x": volume}, XY)
    write("volumes", layers)


def make_schedules():
    """Factors of the base rate over 40 steps."""
    S, out = torch.optim.lr_scheduler, {}

    def factors(name, make):
        optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
        schedule, seen = make(optimiser), []
        for _ in range(40):
            seen.append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            schedule.step()
        out[name] = torch.tensor(seen)

    def ramp(o, steps):
        return S.LinearLR(o, 1 / (steps + 1), 1, steps)
    factors("constant", lambda o: S.ConstantLR(o, 1.0))
    factors("multi_step", lambda o: S.MultiStepLR(o, [8, 20, 21], 0.3))
    factors("cosine", lambda o: S.CosineAnnealingLR(o, 40))
    factors("cosine_end", lambda o: S.CosineAnnealingLR(o, 40, 0.1))
    factors("linear", lambda o: S.LinearLR(o, 1.0, 0.05, 40))
    factors("constant_warm", lambda o: ramp(o, 6))
    factors("multi_step_warm", lambda o: S.ChainedScheduler(
        [ramp(o, 6), S.MultiStepLR(o, [4, 20], 0.5)]))
    factors("cosine_warm", lambda o: S.SequentialLR(
        o, [ramp(o, 10), S.CosineAnnealingLR(o, 30, 0.2)], [10]))
    factors("linear_warm", lambda o: S.SequentialLR(
        o, [ramp(o, 10), S.LinearLR(o, 1.0, 1e-12, 30)], [10]))
    write("schedules", out)


def make_steps():
    """Row gradients, clipping and moving averages: ten steps each."""
    torch.manual_seed(3)
    table, out = draw(7, 3), {}
    ids = torch.randint(0, 7, (10, 4))
    grads = draw(10, 4, 3)
    out.update({"table": table.float(), "ids": ids, "grads": grads.float()})
    for name, make in {
        "rows_sgd": lambda p: torch.optim.SGD(p, 0.1),
        "rows_adam": lambda p: torch.optim.SparseAdam(p, 0.05, (0.8, 0.95), 1e-12),
        "rows_dense_adam": lambda p: torch.optim.Adam(p, 0.05, (0.8, 0.95), 1e-12),
        "rows_momentum": lambda p: torch.optim.SGD(p, 0.1, 0.9, weight_decay=0.05),
    }.items():
        w = table.clone().requires_grad_()
        optimiser, seen = make([w]), []
        for i, g in zip(ids, grads):
            rows = torch.sparse_coo_tensor(i[None], g, (7, 3))
            w.grad = rows if name in ("rows_sgd", "rows_adam") else rows.to_dense()
            optimiser.step()
            seen.append(w.detach().clone())
        out[name] = torch.stack(seen)

    a, b = draw(4, 5), draw(6)
    out.update({"a": a.float(), "b": b.float()})
    a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
    optimiser = torch.optim.SGD([a, b], 0.1, 0.9)
    average = torch.optim.swa_utils.AveragedModel(
        nn.ParameterList([nn.Parameter(a.data), nn.Parameter(b.data)]),
        avg_fn=lambda old, new, n: 0.8 * old + 0.2 * new)
    average.n_averaged += 1  # the first call copies otherwise
    for step in range(10):
        ga, gb = draw(4, 5) * (1 + step % 3), draw(6)
        ga = rounded(ga)
        a.grad, b.grad = ga.clone(), gb.clone()
        out.update({f"ga.{step}": ga.float(), f"gb.{step}": gb.float()})
        out[f"norm.{step}"] = nn.utils.clip_grad_norm_([a, b], 5.0)
        optimiser.step()
        average.update_parameters(nn.ParameterList([nn.Parameter(a.data), nn.Parameter(b.data)]))
        out[f"a.{step}"], out[f"b.{step}"] = a.detach().clone(), b.detach().clone()
        mean = list(average.module)
        out[f"mean_a.{step}"], out[f"mean_b.{step}"] = mean[0].detach().clone(), mean[1].detach().clone()
    write("steps", out)


def make_optimisers():
    start, grads = draw(3, 5), [draw(3, 5) for _ in range(10)]
    out = {"w": start.float()}
    out.update({f"g.{i}": g.float() for i, g in enumerate(grads)})
    for name, make in {
        "sgd": lambda p: torch.optim.SGD(p, 0.1),
        "momentum": lambda p: torch.optim.SGD(p, 0.1, 0.9, weight_decay=0.05),
        "dampening": lambda p: torch.optim.SGD(p, 0.1, 0.8, dampening=0.3),
        "nesterov": lambda p: torch.optim.SGD(p, 0.1, 0.9, weight_decay=0.05, nesterov=True),
        "adam": lambda p: torch.optim.Adam(p, 0.05, (0.8, 0.95), weight_decay=0.1),
        "adamw": lambda p: torch.optim.AdamW(p, 0.05, (0.8, 0.95), weight_decay=0.1),
        "amsgrad": lambda p: torch.optim.Adam(p, 0.05, (0.8, 0.95), amsgrad=True),
        "amsgradw": lambda p: torch.optim.AdamW(p, 0.05, (0.8, 0.95), weight_decay=0.1,
                                                amsgrad=True),
    }.items():
        w = start.clone().requires_grad_()
        optimiser, seen = make([w]), []
        for g in grads:
            w.grad = g.clone()
            optimiser.step()
            seen.append(w.detach().clone())
        out[name] = torch.stack(seen)
    write("optimisers", out)


def ratio(w, d):
    return w / d if w > 0 and d > 0 else 1.0


class Lamb:
    """You et al. 2020, algorithm 2. `rows`: the norms are of these rows, and only they move."""

    def __init__(self, lr, betas, eps, decay, adapted=True, bound=None, correct=True):
        self.__dict__.update(locals())
        self.m = self.v = None
        self.t = 0

    def step(self, w, g, rows=slice(None)):
        if self.m is None:
            self.m, self.v = np.zeros_like(w), np.zeros_like(w)
        self.t += 1
        (b1, b2), m, v = self.betas, self.m, self.v
        m[rows] = b1 * m[rows] + (1 - b1) * g[rows]
        v[rows] = b2 * v[rows] + (1 - b2) * g[rows] ** 2
        c1, c2 = (1 - b1 ** self.t, 1 - b2 ** self.t) if self.correct else (1, 1)
        r = (m[rows] / c1) / (np.sqrt(v[rows] / c2) + self.eps) + self.decay * w[rows]
        norm = np.linalg.norm(w[rows])
        if self.bound is not None:
            norm = min(norm, self.bound)
        trust = ratio(norm, np.linalg.norm(r)) if self.adapted else 1.0
        w[rows] -= self.lr * trust * r


class Lars:
    """You, Gitman & Ginsburg 2017, algorithm 1."""

    def __init__(self, lr, momentum, decay, trust, adapted=True):
        self.__dict__.update(locals())
        self.b = None

    def step(self, w, g, rows=slice(None)):
        if self.b is None:
            self.b = np.zeros_like(w)
        norm, length = np.linalg.norm(w[rows]), np.linalg.norm(g[rows])
        local = self.trust * norm / (length + self.decay * norm) if norm * length and self.adapted else 1.0
        self.b[rows] = self.momentum * self.b[rows] + self.lr * local * (g[rows] + self.decay * w[rows])
        w[rows] -= self.b[rows]


def make_rules():
    """Ten steps of further rules, with dense and with row gradients."""
    torch.manual_seed(7)
    start, grads = draw(3, 5), [draw(3, 5) for _ in range(10)]
    out = {"w": start.float()}
    out.update({f"g.{i}": g.float() for i, g in enumerate(grads)})
    T = torch.optim
    for name, make in {
        "adagrad": lambda p: T.Adagrad(p, 0.1),
        "adagrad_decay": lambda p: T.Adagrad(p, 0.1, 0.2, 0.05, 0.3, 1e-3),
        "rmsprop": lambda p: T.RMSprop(p, 0.02, 0.9),
        "rmsprop_momentum": lambda p: T.RMSprop(p, 0.02, 0.9, 1e-3, 0.05, 0.8),
        "rmsprop_centred": lambda p: T.RMSprop(p, 0.02, 0.9, 1e-3, centered=True),
        "rmsprop_both": lambda p: T.RMSprop(p, 0.02, 0.9, 1e-3, 0.05, 0.8, True),
    }.items():
        w = start.clone().requires_grad_()
        optimiser, seen = make([w]), []
        for g in grads:
            w.grad = g.clone()
            optimiser.step()
            seen.append(w.detach().clone())
        out[name] = torch.stack(seen)
    for name, rule in {
        "lamb": Lamb(0.05, (0.8, 0.95), 1e-6, 0.1),
        "lamb_bound": Lamb(0.05, (0.8, 0.95), 1e-3, 0.1, bound=1.5, correct=False),
        "lamb_plain": Lamb(0.05, (0.8, 0.95), 1e-6, 0.0, adapted=False),
        "lars": Lars(0.5, 0.9, 0.05, 0.02),
        "lars_plain": Lars(0.05, 0.9, 0.0, 0.02, adapted=False),
    }.items():
        w, seen = start.numpy().copy(), []
        for g in grads:
            rule.step(w, g.numpy())
            seen.append(torch.from_numpy(w.copy()))
        out[name] = torch.stack(seen)

    table, ids, grads = draw(7, 3), torch.randint(0, 7, (10, 4)), draw(10, 4, 3)
    out.update({"table": table.float(), "ids": ids, "grads": grads.float()})
    for name, sparse, make in [
        ("rows_adagrad", True, lambda p: T.Adagrad(p, 0.1, 0.2, initial_accumulator_value=0.1)),
        ("rows_rmsprop", False, lambda p: T.RMSprop(p, 0.02, 0.9, momentum=0.8)),
        ("rows_lamb", False, lambda p: Lamb(0.05, (0.8, 0.95), 1e-6, 0.1)),
        ("rows_lamb_lazy", True, lambda p: Lamb(0.05, (0.8, 0.95), 1e-6, 0.1)),
        ("rows_lars", False, lambda p: Lars(0.5, 0.9, 0.05, 0.02)),
        ("rows_lars_lazy", True, lambda p: Lars(0.5, 0.9, 0.05, 0.02)),
    ]:
        w = table.clone().requires_grad_()
        optimiser, seen = make([w]), []
        for i, g in zip(ids, grads):
            rows = torch.sparse_coo_tensor(i[None], g, (7, 3))
            if isinstance(optimiser, T.Optimizer):
                w.grad = rows if sparse else rows.to_dense()
                optimiser.step()
            else:
                optimiser.step(w.data.numpy(), rows.to_dense().numpy(),
                               np.unique(i.numpy()) if sparse else slice(None))
            seen.append(w.detach().clone())
        out[name] = torch.stack(seen)
    write("rules", out)


def make_phases():
    """Factors of the base rate over 40 steps."""
    S, out = torch.optim.lr_scheduler, {}

    def factors(name, make):
        optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
        schedule, seen = make(optimiser), []
        for _ in range(40):
            seen.append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            schedule.step()
        out[name] = torch.tensor(seen)

    def function(name, f):
        factors(name, lambda o: S.LambdaLR(o, f))

    def wsd(left, end, exponential=False):
        def f(step):
            p = (step - 30) / 10
            if p <= 0:
                return min(1, (step + 1) / 5)
            return end ** p if exponential else end + (1 - end) * left(p)
        return f

    factors("polynomial", lambda o: S.PolynomialLR(o, 40, 2.0))
    function("polynomial_end", lambda s: 0.1 + 0.9 * (1 - s / 40) ** 0.5)
    factors("step", lambda o: S.StepLR(o, 12, 0.3))
    function("inverse_sqrt", lambda s: 3 * min((s + 1) ** -0.5, (s + 1) * 9 ** -1.5))
    function("wsd", wsd(lambda p: 1 - p, 0))
    function("wsd_cosine", wsd(lambda p: (1 + np.cos(np.pi * p)) / 2, 0.1))
    function("wsd_sqrt", wsd(lambda p: 1 - np.sqrt(p), 0.05))
    function("wsd_exponential", wsd(None, 0.02, True))
    cycle = {"max_lr": 1.0, "total_steps": 41, "cycle_momentum": False}
    # One step beyond the forty, so that the last call of step() is one it allows.
    for name, more in {
        "onecycle": {},
        "onecycle_linear": {"anneal_strategy": "linear", "pct_start": 0.4, "div_factor": 5, "final_div_factor": 20},
        "onecycle_three": {"three_phase": True},
        "onecycle_three_linear": {"three_phase": True, "anneal_strategy": "linear", "pct_start": 0.45, "div_factor": 5,
                                  "final_div_factor": 20},
    }.items():
        factors(name, lambda o: S.OneCycleLR(o, **cycle, **more))
    write("phases", out)


kink = []  # how near to 0 the input of each ReLU came


def relu(x):
    kink.append(float(x.detach().abs().min()))
    return F.relu(x)


class Basic(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(o)
        self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)
        self.stride, self.extra = stride, o - i

    def forward(self, x):
        y = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            half = self.extra // 2
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, self.extra - half))
        return relu(y + x)


class ResNet(nn.Module):
    def __init__(self, width=4, classes=5):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(Basic(width, width, 1))
        self.layer2 = nn.Sequential(Basic(width, 2 * width, 2))
        self.layer3 = nn.Sequential(Basic(2 * width, 4 * width, 2))
        self.linear = nn.Linear(4 * width, classes)

    def forward(self, x):
        x = relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.heads = heads

    def forward(self, x):
        n, l, d = x.shape
        q, k, v = self.qkv(x).view(n, l, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        a = F.softmax(q @ k.transpose(2, 3) / (d // self.heads) ** 0.5, -1)
        return self.proj((a @ v).transpose(1, 2).reshape(n, l, d))


class Mlp(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim, 1e-6), Attention(dim, heads)
        self.norm2, self.mlp = nn.LayerNorm(dim, 1e-6), Mlp(dim, 4 * dim)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, patch, dim):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class ViT(nn.Module):
    def __init__(self, side, patch=4, dim=16, depth=2, heads=2, classes=5):
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, (side // patch) ** 2 + 1, dim) * 0.02)
        self.patch_embed = PatchEmbed(patch, dim)
        self.blocks = nn.Sequential(*(Block(dim, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(dim, 1e-6), nn.Linear(dim, classes)

    def forward(self, x):
        x = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


def make_run(name, make_net, side, make_optimiser, decay):
    """Ten steps on two batches of eight, in turn; matrices and kernels decay, nothing else.

    The gradient of a ReLU jumps at 0, so where an input comes as near to it as float32 rounds, two
    correct programs part ways: such a run is drawn again."""
    while not try_run(name, make_net(), side, make_optimiser, decay):
        pass


def try_run(name, net, side, make_optimiser, decay):
    kink.clear()
    for p in net.parameters():
        p.data = rounded(p.data)
    x, labels = draw(16, 3, side, side), torch.randint(0, 5, (16,))
    initial = {k: v.clone() if v.dtype == torch.int64 else v.float()
               for k, v in net.state_dict().items()}
    modules = dict(net.named_modules())
    decayed = [m.weight for m in modules.values() if isinstance(m, (nn.Linear, nn.Conv2d))]
    others = [p for p in net.parameters() if not any(p is q for q in decayed)]
    optimiser = make_optimiser([{"params": decayed, "weight_decay": decay},
                                {"params": others, "weight_decay": 0.0}])
    losses = []
    for step in range(10):
        part = slice(8 * (step % 2), 8 * (step % 2) + 8)
        loss = F.cross_entropy(net(x[part]), labels[part], label_smoothing=0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
    if kink and min(kink) < 2e-5:
        return False
    write(name, initial)
    run = {"x": last(x).float(), "labels": labels, "losses": torch.stack(losses)}
    run.update({"final." + k: v if v.dtype == torch.int64 else v.float()
                for k, v in net.state_dict().items()})
    write(name + "_run", run)
    print(name, [round(float(v), 4) for v in losses])
    return True


def make_networks():
    make_run("resnet", ResNet, 8,
             lambda g: torch.optim.SGD(g, 0.1, 0.9, nesterov=True), 0.01)
    # The bias of the keys has no gradient but rounding, which a small eps would blow up to steps.
    make_run("vit", lambda: ViT(8), 8, lambda g: torch.optim.AdamW(g, 3e-3, eps=1e-5), 0.1)


def make_first():
    """Drawn one after the other: kept together, so that the draws come out the same again."""
    make_layers()
    make_optimisers()
    make_networks()


SETS = {
    "first": make_first,
    "operations": make_operations,
    "activations": make_activations,
    "ragged": make_ragged,
    "rotary": make_rotary,
    "gpt": make_gpt,
    "schedules": make_schedules,
    "spatial": make_spatial,
    "volumes": make_volumes,
    "grids": make_grids,
    "steps": make_steps,
    "rules": make_rules,
    "phases": make_phases,
}

if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    for name in sys.argv[1:] or SETS:
        SETS[name]()
