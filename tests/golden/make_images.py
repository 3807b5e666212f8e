#!/usr/bin/python3
"""Makes tests/golden/images/, what tests/test_images.c compares mica's pictures with.

Run it from the root of the project with Debian's python3-pil (made with 9.4.0):

    /usr/bin/python3 tests/golden/make_images.py

resize.safetensors   in.NAME pictures; resize.NAME.FILTER.N what Image.resize gives (the size is that
                     of the result); prepare.NAME.FILTER.CROP what torchvision's Resize(floor(side /
                     CROP%)) and CenterCrop(side) give, after convert() to the result's channels
*.png, *.jpg, *.ppm  one picture in every kind of file
decode.safetensors   what each of them holds, as Pillow sees it: upright, alpha over white, in 8 bits
"""
import json
import math
import os
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "images")
FILTERS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "box": Image.BOX, "lanczos": Image.LANCZOS}


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


def png(path, a, colour, depth=8, interlaced=False, chunks=b""):
    """A PNG of samples [H,W,C] in the layouts that Pillow does not write. Adam7 is seven pictures."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b""
    for x0, y0, dx, dy in passes if interlaced else [(0, 0, 1, 1)]:
        part = a[y0::dy, x0::dx]
        if part.size:
            for row in part:
                rows += b"\0" + (row.astype(">u2").tobytes() if depth == 16 else row.astype(np.uint8).tobytes())

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n")
        f.write(chunk(b"IHDR", struct.pack(">IIBBBBB", a.shape[1], a.shape[0], depth, colour, 0, 0, interlaced)))
        f.write(chunks and chunk(b"eXIf", chunks))
        f.write(chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def exif(orientation):
    e = Image.Exif()
    e[0x0112] = orientation
    return e.tobytes()


def pictures():
    """Writes the files; returns {file: what it holds}."""
    y, x = np.mgrid[0:14, 0:19]
    a = np.stack([x * 13, y * 17, 255 - x * 6 - y * 7], 2).clip(0, 255).astype(np.uint8)
    grey, alpha = a[:, :, :1], ((x * 11 + y * 5) % 256).astype(np.uint8)
    rgb = Image.fromarray(a)
    at = lambda name: os.path.join(OUT, name)
    holds = {}

    def over_white(samples):
        c, al = samples[:, :, :-1].astype(int), samples[:, :, -1:].astype(int)
        return ((c * al + 255 * (255 - al) + 127) // 255).astype(np.uint8)
    rgb.save(at("colour.png"))
    holds["colour.png"] = a
    rgb.convert("L").save(at("grey.png"))
    holds["grey.png"] = array(rgb.convert("L"))
    bits = rgb.convert("1")
    bits.save(at("bits.png"))
    holds["bits.png"] = array(bits.convert("L"))
    palette = rgb.quantize(16)
    palette.save(at("palette.png"))
    holds["palette.png"] = array(palette.convert("RGB"))
    palette.save(at("palette-clear.png"), transparency=3)
    holds["palette-clear.png"] = over_white(array(Image.open(at("palette-clear.png")).convert("RGBA")))
    rgba = np.concatenate([a, alpha[:, :, None]], 2)
    Image.fromarray(rgba).save(at("alpha.png"))
    holds["alpha.png"] = over_white(rgba)
    la = np.concatenate([grey, alpha[:, :, None]], 2)
    Image.fromarray(la, "LA").save(at("grey-alpha.png"))
    holds["grey-alpha.png"] = over_white(la)
    wide = a.astype(int) * 257 + 50
    png(at("sixteen.png"), wide.clip(0, 65535), 2, 16)
    holds["sixteen.png"] = a
    png(at("interlaced.png"), a, 2, 8, True)
    holds["interlaced.png"] = array(Image.open(at("interlaced.png")))
    png(at("exif.png"), a, 2, 8, False, exif(6)[6:])
    holds["exif.png"] = array(rgb.rotate(-90, expand=True))
    for o in range(1, 9):
        name = "orientation-%d.jpg" % o
        rgb.save(at(name), quality=95, exif=exif(o))
        holds[name] = array(ImageOps.exif_transpose(Image.open(at(name))))
    cmyk = rgb.convert("CMYK")
    cmyk.save(at("cmyk.jpg"), quality=95)
    holds["cmyk.jpg"] = array(Image.open(at("cmyk.jpg")).convert("RGB"))
    rgb.save(at("progressive.jpg"), quality=90, progressive=True)
    holds["progressive.jpg"] = array(Image.open(at("progressive.jpg")))
    rgb.convert("L").save(at("grey.jpg"), quality=90)
    holds["grey.jpg"] = array(Image.open(at("grey.jpg")))
    rgb.save(at("colour.ppm"))
    holds["colour.ppm"] = a
    with open(at("deep.pgm"), "wb") as f:
        f.write(b"P5\n# sixteen bits\n19 14\n65535\n" + (grey.astype(int) * 257).astype(">u2").tobytes())
    holds["deep.pgm"] = grey
    return holds


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
    write(os.path.join(OUT, "decode.safetensors"), pictures())


main()
