"""A program that loads a network's weights, embeds a picture, and prints a number; bench/programs/start.c is
the same in C.  torch_start.py NETWORK FILE [--make: write the file]"""
import sys

import torch

from torch_networks import SHAPES, network


def main():
    name, path = sys.argv[1:3]
    _, side, channels, _ = SHAPES[name]
    torch.set_num_threads(2)
    model = network(name).eval()
    if "--make" in sys.argv:
        torch.save(model.state_dict(), path)
        return
    model.load_state_dict(torch.load(path))
    pixels = (torch.arange(side * side * channels) * 7 % 256).to(torch.uint8).reshape(1, channels, side, side)
    with torch.inference_mode():
        print(float(model(pixels.float() / 255)[0, 0]))


main()
