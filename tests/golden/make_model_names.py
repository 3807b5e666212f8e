#!/usr/bin/python3
"""Makes tests/golden/model_names/*.txt: names and shapes of the well-known checkpoints, written from
the definitions of torchvision (resnet18 ... resnet152, vgg11 ... vgg19_bn), of the CIFAR-10 networks of depth 6n + 2, and
of timm's vision transformers; no framework is needed. Each file has a line `name dim dim ...` for
every tensor of the state dict, in its order. The numbers of parameters are those published.

Run it from anywhere:  python3 tests/golden/make_model_names.py
"""
import math
import os

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "model_names")


def conv(name, out, into, k, bias=False):
    return [(name + ".weight", (out, into, k, k))] + ([(name + ".bias", (out,))] if bias else [])


def norm(name, c):
    return [(f"{name}.{part}", (c,)) for part in ("weight", "bias", "running_mean", "running_var")] + [
        (name + ".num_batches_tracked", ())]


def affine(name, *shape):
    return [(name + ".weight", shape), (name + ".bias", shape[:1])]


def torchvision(blocks, bottleneck):
    out, into = conv("conv1", 64, 3, 7) + norm("bn1", 64), 64
    for stage, n in enumerate(blocks):
        width = 64 << stage
        wide = width * (4 if bottleneck else 1)
        for i in range(n):
            at = f"layer{stage + 1}.{i}"
            if bottleneck:
                steps = [(width, into, 1), (width, width, 3), (wide, width, 1)]
            else:
                steps = [(width, into, 3), (width, width, 3)]
            for k, step in enumerate(steps):
                out += conv(f"{at}.conv{k + 1}", *step) + norm(f"{at}.bn{k + 1}", step[0])
            if i == 0 and (stage > 0 or into != wide):
                out += conv(at + ".downsample.0", wide, into, 1) + norm(at + ".downsample.1", wide)
            into = wide
    return out + affine("fc", 1000, into)


def vgg(depth, batch_norm, small=False):
    counts = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}[depth]
    out, into, number = [], 3, 0
    for n, width in zip(counts, (64, 128, 256, 512, 512)):
        for _ in range(n):
            out += conv(f"features.{number}", width, into, 3, True)
            out += norm(f"features.{number + 1}", width) if batch_norm else []
            number += 3 if batch_norm else 2
            into = width
        number += 1
    if small:
        return out + affine("classifier", 10, into)
    out += affine("classifier.0", 4096, 7 * 7 * into) + affine("classifier.3", 4096, 4096)
    return out + affine("classifier.6", 1000, 4096)


def cifar(depth, projection=False):
    out, into = conv("conv1", 16, 3, 3) + norm("bn1", 16), 16
    for stage in range(3):
        width = 16 << stage
        for i in range((depth - 2) // 6):
            at = f"layer{stage + 1}.{i}"
            out += conv(at + ".conv1", width, into, 3) + norm(at + ".bn1", width)
            out += conv(at + ".conv2", width, width, 3) + norm(at + ".bn2", width)
            if projection and into != width:
                out += conv(at + ".shortcut.0", width, into, 1) + norm(at + ".shortcut.1", width)
            into = width
    return out + affine("linear", 10, into)


def vit(dim, depth, patch=16, side=224, classes=1000):
    out = [("cls_token", (1, 1, dim)), ("pos_embed", (1, (side // patch) ** 2 + 1, dim))]
    out += conv("patch_embed.proj", dim, 3, patch, True)
    for i in range(depth):
        at = f"blocks.{i}."
        out += affine(at + "norm1", dim) + affine(at + "attn.qkv", 3 * dim, dim)
        out += affine(at + "attn.proj", dim, dim) + affine(at + "norm2", dim)
        out += affine(at + "mlp.fc1", 4 * dim, dim) + affine(at + "mlp.fc2", dim, 4 * dim)
    return out + affine("norm", dim) + affine("head", classes, dim)


MODELS = {
    "resnet18": (torchvision([2, 2, 2, 2], False), 11689512),
    "resnet34": (torchvision([3, 4, 6, 3], False), 21797672),
    "resnet50": (torchvision([3, 4, 6, 3], True), 25557032),
    "resnet101": (torchvision([3, 4, 23, 3], True), 44549160),
    "resnet152": (torchvision([3, 8, 36, 3], True), 60192808),
    "vgg11": (vgg(11, False), 132863336),
    "vgg13_bn": (vgg(13, True), 133053736),
    "vgg16_bn": (vgg(16, True), 138365992),
    "vgg19_bn": (vgg(19, True), 143678248),
    "cifar_vgg16_bn": (vgg(16, True, True), 14728266),
    "cifar_resnet20": (cifar(20), 269722),
    "cifar_resnet32": (cifar(32), 464154),
    "cifar_resnet44": (cifar(44), 658586),
    "cifar_resnet56": (cifar(56), 853018),
    "cifar_resnet20_projection": (cifar(20, True), 272474),
    "vit_tiny_patch16_224": (vit(192, 12), 5717416),
    "vit_small_patch16_224": (vit(384, 12), 22050664),
    "vit_base_patch16_224": (vit(768, 12), 86567656),
}

os.makedirs(OUT, exist_ok=True)
for name, (entries, published) in MODELS.items():
    count = sum(math.prod(shape) for key, shape in entries
                if not key.endswith(("running_mean", "running_var", "num_batches_tracked")))
    assert count == published, (name, count, published)
    with open(os.path.join(OUT, name + ".txt"), "w") as f:
        f.writelines(" ".join([key, *map(str, shape)]) + "\n" for key, shape in entries)
    print(name, len(entries), "tensors", count, "parameters")
