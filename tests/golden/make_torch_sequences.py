#!/usr/bin/python3
"""Makes tests/golden/torch/sequences.safetensors, what tests/test_torch_sequences.c compares mica
with; make_torch.py tells how and in which form. Complex numbers are a last dimension of 2.

    /usr/bin/python3 tests/golden/make_torch_sequences.py
"""
import torch
from make_torch import case, draw, layers, write


def recurrence(a, b, h0=None, reverse=False, is_complex=False):
    """Along axis 1: the states, and the last one once more."""
    if is_complex:
        a, b, h0 = (torch.view_as_complex(v.contiguous()) for v in (a, b, h0))
    a = a.expand(b.shape)
    steps = range(b.shape[1] - 1, -1, -1) if reverse else range(b.shape[1])
    h = torch.zeros_like(b[:, 0]) if h0 is None else h0
    states = [None] * b.shape[1]
    for t in steps:
        h = a[:, t] * h + b[:, t]
        states[t] = h
    out = torch.stack(states, 1)
    if is_complex:
        out, h = torch.view_as_real(out), torch.view_as_real(h)
    return torch.cat([out.reshape(-1), h.reshape(-1)])


def make_scans():
    rows = draw(3, 6, 2)
    case("cumsum", lambda x: torch.cumsum(x, 1), {"x": rows})
    case("cumsum_exclusive_reverse",
         lambda x: torch.cumsum(x.flip(1), 1).flip(1) - x, {"x": rows})
    case("cumprod", lambda x: torch.cumprod(x, 1), {"x": rows * (torch.rand(3, 6, 2) > 0.2)})
    case("cumprod_reverse", lambda x: torch.cumprod(x.flip(1), 1).flip(1), {"x": rows})
    steps = {"x": draw(2, 5, 3), "z": draw(2, 5, 3)}
    case("recurrence", lambda x, z: recurrence(x, z), steps)
    case("recurrence_reverse", lambda x, z, h: recurrence(x, z, h, reverse=True),
         {**steps, "h": draw(2, 3)})
    case("recurrence_shared", lambda x, z, h: recurrence(x, z, h),
         {"x": draw(3), "z": draw(2, 5, 3), "h": draw(2, 3)})
    case("recurrence_complex", lambda x, z, h: recurrence(x, z, h, is_complex=True),
         {"x": draw(2, 5, 3, 2), "z": draw(2, 5, 3, 2), "h": draw(2, 3, 2)})


def main():
    torch.manual_seed(6)
    make_scans()
    write("sequences", layers)


if __name__ == "__main__":
    main()
