#!/usr/bin/env python3
"""Batches of pictures with Pillow and numpy; bench/data_path.c is the same in C. --draft lets libjpeg decode
at a smaller size, which Pillow offers and which changes the pixels."""
import os

import numpy as np
import PIL
from PIL import Image

import protocol

MEAN, DEVIATION = np.float32(0.45), np.float32(0.22)


def files(folder):
    return [os.path.join(path, name) for path, _, names in sorted(os.walk(folder)) for name in sorted(names)]


def moved(picture, crop, draw):
    """A random place in the padded picture, flipped half the time."""
    height, width = picture.shape[:2]
    padded = np.pad(picture, ((crop, crop), (crop, crop), (0, 0))[:picture.ndim])
    y, x = draw.integers(0, 2 * crop + 1, 2)
    picture = padded[y:y + height, x:x + width]
    return picture[:, ::-1] if draw.random() < 0.5 else picture


def batches(n, size, draw):
    while True:
        order = draw.permutation(n)
        for at in range(0, n, size):
            yield order[at:at + size]


def from_files(o, folder, size, draw):
    paths = files(folder)
    chosen = batches(len(paths), size, draw)

    def step():
        items = next(chosen)
        x = np.empty((len(items), 224, 224, 3), np.float32)
        for i, item in enumerate(items):
            with Image.open(paths[item]) as picture:
                if o.draft:
                    picture.draft("RGB", (224 * picture.width // picture.height, 224))
                width, height = picture.size
                short = min(width, height)
                resized = picture.convert("RGB").resize((224 * width // short, 224 * height // short), Image.BILINEAR)
            left = (resized.width - 224) // 2
            pixels = np.asarray(resized)[:224, left:left + 224]
            x[i] = moved(pixels, 16, draw)
        x *= 1 / (255 * DEVIATION)
        x -= MEAN / DEVIATION
        return x
    return step


def from_idx(folder, draw):
    name = os.path.join(folder, "train-images-idx3-ubyte")
    pixels = np.fromfile(name, np.uint8, offset=16).reshape(-1, 28, 28)
    padded = np.pad(pixels, ((0, 0), (2, 2), (2, 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (28, 28), (1, 2))
    chosen = batches(len(pixels), 512, draw)

    def step():
        items = next(chosen)
        y, x = draw.integers(0, 5, (2, len(items)))
        out = windows[items, y, x].astype(np.float32)
        flip = draw.random(len(items)) < 0.5
        out[flip] = out[flip, :, ::-1]
        out *= 1 / (255 * DEVIATION)
        out -= MEAN / DEVIATION
        return out
    return step


def make(o):
    folder, draw = os.path.join(os.environ["MICA_BENCH_FILES"], o.phase), np.random.default_rng(1)
    if o.draft and not o.phase.startswith("jpeg"):
        raise SystemExit("only JPEG has a draft")
    if o.phase == "idx":
        return from_idx(folder, draw)
    return from_files(o, folder, 16 if o.phase == "jpeg-large" else 64, draw)


def main():
    o = protocol.options("draft")
    protocol.serve("Pillow " + PIL.__version__ if o.phase != "idx" else "numpy " + np.__version__, lambda: make(o))


main()
