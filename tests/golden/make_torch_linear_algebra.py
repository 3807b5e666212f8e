#!/usr/bin/python3
"""Makes tests/golden/torch/linear_algebra.safetensors, what tests/test_torch_linear_algebra.c
compares mica with; make_torch.py tells how and in which form.

    /usr/bin/python3 tests/golden/make_torch_linear_algebra.py
"""
import torch
from make_torch import case, draw, layers, write


def eye(x, value):
    return value * torch.eye(x.shape[-1])


def positive(x):
    return x @ x.mT + eye(x, x.shape[-1] / 2)


def dominant(x):
    return x + eye(x, x.shape[-1])


def row(*parts):
    return torch.cat([p.reshape(-1) for p in parts])


def sign(v):
    """What makes the first large element of each column positive."""
    size = v.detach().abs()
    first = (size >= 0.9 * size.amax(-2, keepdim=True)).int().argmax(-2, keepdim=True)
    return v.detach().gather(-2, first).sign()


def qr(x):
    q, r = torch.linalg.qr(x)
    s = r.detach().diagonal(dim1=-2, dim2=-1).sign()
    return row(q * s.unsqueeze(-2), r * s.unsqueeze(-1))


def svd(x):
    u, s, vt = torch.linalg.svd(x, full_matrices=False)
    return row(u * sign(u), s, vt * sign(u).mT)


def eigen(x):
    w, v = torch.linalg.eigh((x + x.mT) / 2)
    return row(w, v * sign(v))


def main():
    torch.manual_seed(5)
    two = {"x": draw(2, 4, 4), "z": draw(2, 4, 3)}
    case("solve", lambda x, z: torch.linalg.solve(dominant(x), z), two)
    case("solve_shared", lambda x, z: torch.linalg.solve(dominant(x), z),
         {"x": draw(3, 3), "z": draw(2, 3, 2)})
    case("triangular_lower", lambda x, z: torch.linalg.solve_triangular(
        dominant(x), z, upper=False), two)
    case("triangular_upper_turned_right", lambda x, z: torch.linalg.solve_triangular(
        dominant(x).mT, z.mT, upper=False, left=False), two)
    case("cholesky_solve", lambda x, z: torch.cholesky_solve(z, dominant(x).tril()), two)
    case("inverse", lambda x: torch.linalg.inv(dominant(x)), {"x": draw(2, 4, 4)})
    case("log_det", lambda x: torch.prod(torch.stack(torch.linalg.slogdet(x)), 0),
         {"x": draw(5, 3, 3)})
    case("cholesky", lambda x: torch.linalg.cholesky(positive(x)), {"x": draw(2, 4, 4)})
    case("cholesky_log_det", lambda x: torch.logdet(positive(x)), {"x": draw(2, 4, 4)})
    case("qr_tall", qr, {"x": draw(2, 5, 3)})
    case("qr_wide", qr, {"x": draw(3, 5)})
    case("svd_tall", svd, {"x": draw(2, 5, 3)})
    case("svd_wide", svd, {"x": draw(3, 4)})
    case("eigen", eigen, {"x": draw(2, 4, 4)})
    case("matrix_exp", torch.linalg.matrix_exp, {"x": draw(2, 4, 4)})
    case("matrix_exp_large", lambda x: torch.linalg.matrix_exp(3 * x), {"x": draw(3, 3)})
    write("linear_algebra", layers)


if __name__ == "__main__":
    main()
