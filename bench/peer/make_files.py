#!/usr/bin/env python3
"""Make the files that workloads of the data path read, once:  make_files.py FOLDER

png, jpeg, jpeg-large  pictures in class folders, smooth with a little noise, as photographs are
idx                    pictures in MNIST's format
table.csv              numbers of several lengths, categories, a label
"""
import os
import struct
import sys

import numpy as np
from PIL import Image

CLASSES, ROWS = 4, 1000000


def picture(draw, height, width):
    """Layers of noise, each twice as fine and half as strong."""
    whole = np.zeros((height, width, 3), np.float32)
    for layer in range(2, 8):
        coarse = Image.fromarray(draw.integers(0, 256, (2 ** layer, 2 ** layer, 3), np.uint8))
        whole += np.asarray(coarse.resize((width, height), Image.BICUBIC), np.float32) / 2 ** (layer - 1)
    return Image.fromarray(np.clip(whole - whole.mean() + 128, 0, 255).astype(np.uint8))


def pictures(folder, ending, count, height, width, draw, **options):
    for i in range(count):
        place = os.path.join(folder, "class%d" % (i % CLASSES))
        os.makedirs(place, exist_ok=True)
        picture(draw, height, width).save(os.path.join(place, "%04d.%s" % (i, ending)), **options)


def idx(folder, draw):
    os.makedirs(folder, exist_ok=True)
    for part, n in (("train", 60000), ("t10k", 100)):
        pixels = draw.integers(0, 256, (n, 28, 28), np.uint8)
        labels = draw.integers(0, 10, n, np.uint8)
        for name, head, block in (("images-idx3", (0x803, n, 28, 28), pixels), ("labels-idx1", (0x801, n), labels)):
            with open(os.path.join(folder, "%s-%s-ubyte" % (part, name)), "wb") as file:
                file.write(struct.pack(">%dI" % len(head), *head) + block.tobytes())


def table(path, draw):
    """Prices, counts, and numbers of 3 and 17 digits."""
    columns = [draw.integers(0, 1000, ROWS).astype(str), draw.integers(0, 10 ** 9, ROWS).astype(str),
               np.char.mod("%.2f", draw.gamma(2, 50, ROWS)), np.char.mod("%.3f", draw.standard_normal(ROWS)),
               np.char.mod("%.6g", draw.standard_normal(ROWS)), np.char.mod("%.17g", draw.random(ROWS)),
               np.char.mod("%d", draw.integers(1900, 2030, ROWS)),
               np.char.add("item", draw.integers(0, 800, ROWS).astype(str)),
               np.array(["red", "green", "dark blue", "yellow"])[draw.integers(0, 4, ROWS)],
               np.array(["yes", "no"])[draw.integers(0, 2, ROWS)]]
    names = ["count", "number", "price", "z", "short", "long", "year", "item", "colour", "label"]
    with open(path + ".part", "w") as file:
        file.write(",".join(names) + "\n")
        file.writelines(",".join(row) + "\n" for row in zip(*columns))
    os.replace(path + ".part", path)


def main():
    folder, draw = sys.argv[1], np.random.default_rng(1)
    if os.path.exists(os.path.join(folder, "table.csv")):
        return  # the last to be made
    pictures(os.path.join(folder, "png"), "png", 256, 256, 256, draw)
    pictures(os.path.join(folder, "jpeg"), "jpg", 256, 256, 256, draw, quality=90)
    pictures(os.path.join(folder, "jpeg-large"), "jpg", 64, 768, 1024, draw, quality=90)
    idx(os.path.join(folder, "idx"), draw)
    table(os.path.join(folder, "table.csv"), draw)


main()
