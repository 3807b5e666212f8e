#!/usr/bin/python3
"""Makes tests/golden/images/resize.safetensors, what tests/test_images.c compares mica's pictures with.

Run it from the root of the project with Debian's python3-pil (made with 9.4.0):

    /usr/bin/python3 tests/golden/make_images.py

resize.safetensors   in.NAME pictures; resize.NAME.FILTER.N what Image.resize gives (the size is that
                     of the result); prepare.NAME.FILTER.CROP what torchvision's Resize(floor(side /
                     CROP%)) and CenterCrop(side) give, after convert() to the result's channels
"""
import json
import math
import os
import struct

import numpy as np
from PIL import Image

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "images")
FILTERS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}


def write(path, tensors):
    header, at = {}, 0
    for name, a in tensors.items():
        header[name] = {"dtype": "U8", "shape": list(a.shape), "data_offsets": [at, at + a.nbytes]}
        at += a.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for a in tensors.values():
            f.write(np.ascontiguousarray(a).tobytes())


def picture(a):
    return Image.fromarray(a[:, :, 0] if a.shape[2] == 1 else a)


def array(im):
    a = np.asarray(im)
    return a[:, :, None] if a.ndim == 2 else a


def prepare(im, size, percent, how):
    """torchvision.transforms: Resize(int), then CenterCrop(int)."""
    w, h = im.size
    short = math.floor(size / (percent / 100))
    new = (short, int(short * h / w)) if w <= h else (int(short * w / h), short)
    im = im.resize(new, how)
    top, left = int(round((new[1] - size) / 2.0)), int(round((new[0] - size) / 2.0))
    return im.crop((left, top, left + size, top + size))


def main():
    rng = np.random.default_rng(1)
    tensors = {}
    y, x = np.mgrid[0:47, 0:61]
    smooth = np.stack([x * 4, y * 5, 255 - x * 2 - y], 2).clip(0, 255).astype(np.uint8)
    inputs = {
        "smooth": smooth,
        "noise": rng.integers(0, 256, (53, 29, 3), np.uint8),
        "edges": (rng.integers(0, 2, (40, 64, 1)) * 255).astype(np.uint8),
        "pixel": np.array([[[200, 10, 90]]], np.uint8),
        "wide": rng.integers(0, 256, (3, 200, 1), np.uint8),
    }
    sizes = [(32, 32), (7, 5), (80, 61), (1, 1)]
    for name, a in inputs.items():
        tensors["in." + name] = a
        for kind, how in FILTERS.items():
            for i, size in enumerate(sizes):
                tensors["resize.%s.%s.%d" % (name, kind, i)] = array(picture(a).resize(size[::-1], how))
    for name in ("smooth", "noise", "edges"):
        for kind, how in FILTERS.items():
            for size, percent in ((24, 87.5), (19, 95), (33, 100)):
                for mode in ("RGB", "L"):
                    im = picture(inputs[name]).convert(mode)
                    key = "prepare.%s.%s.%g.%d%s" % (name, kind, percent * 10, size, mode)
                    tensors[key] = array(prepare(im, size, percent, how))
    os.makedirs(OUT, exist_ok=True)
    write(os.path.join(OUT, "resize.safetensors"), tensors)


main()
