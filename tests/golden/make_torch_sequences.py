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


def pairs(x):
    return torch.view_as_complex(x.contiguous())


def long_convolution(x, k, circular):
    """By its definition: x [N, L, C], k [C, K]."""
    length = x.shape[1]
    y = torch.zeros_like(x)
    for j in range(k.shape[1]):
        moved = torch.roll(x, j, 1)
        if not circular:
            moved = moved * (torch.arange(length) >= j).double().view(1, length, 1)
        y = y + k[:, j] * moved
    return y


def make_transforms():
    for n in (1, 2, 12, 15, 49, 64):
        case(f"rfft_{n}", lambda x: torch.view_as_real(torch.fft.rfft(x, dim=1)),
             {"x": draw(2, n, 3)})
        half = draw(2, n // 2 + 1, 3, 2)
        case(f"irfft_{n}", lambda x, n=n: torch.fft.irfft(pairs(x), n, 1, "ortho"), {"x": half})
    whole = {"x": draw(3, 22, 2)}
    case("fft", lambda x: torch.view_as_real(torch.fft.fft(pairs(x), norm="forward")), whole)
    case("ifft", lambda x: torch.view_as_real(torch.fft.ifft(pairs(x))), whole)
    case("rfft2", lambda x: torch.view_as_real(torch.fft.rfft2(x, dim=(1, 2), norm="ortho")),
         {"x": draw(2, 6, 5, 2)})
    case("irfft2", lambda x: torch.fft.irfft2(pairs(x), (6, 5), (1, 2)),
         {"x": draw(2, 6, 3, 2, 2)})
    for name, taps, circular in (("causal", 9, False), ("causal_beyond", 17, False),
                                 ("circular", 13, True)):
        case("convolution_" + name,
             lambda x, k, c=circular: long_convolution(x, k, c),
             {"x": draw(3, 13, 2), "k": draw(2, taps)})


def main():
    torch.manual_seed(6)
    make_scans()
    make_transforms()
    write("sequences", layers)


if __name__ == "__main__":
    main()
