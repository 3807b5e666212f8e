"""The workloads of bench/attention.c in PyTorch.

    torch_attention.py attention-LENGTH full|causal [--threads N] [--bf16]
"""
import torch
import torch.nn.functional as F

import protocol

TOKENS, HEADS, DIM = 16384, 6, 64


def explicit(q, k, v, hidden):
    """What releases before 2.0 need: the scores, their softmax, the product."""
    scores = (q * DIM ** -0.5) @ k.transpose(-2, -1)
    return (scores if hidden is None else scores + hidden).softmax(-1) @ v


def attention(o):
    length = int(o.workload.split("-")[1])
    dtype = torch.bfloat16 if o.bf16 else torch.float32
    q, k, v = (torch.randn(TOKENS // length, HEADS, length, DIM).to(dtype).requires_grad_() for _ in range(3))
    gradient = torch.randn(TOKENS // length, HEADS, length, DIM).to(dtype)
    causal = o.phase == "causal"
    fused = hasattr(F, "scaled_dot_product_attention")
    hidden = torch.full((length, length), float("-inf")).triu(1).to(dtype) if causal and not fused else None

    def step():
        q.grad = k.grad = v.grad = None
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal) if fused else explicit(q, k, v, hidden)
        y.backward(gradient)
    return step


def main():
    o = protocol.options()
    torch.set_num_threads(o.threads)
    torch.manual_seed(1)
    protocol.serve("PyTorch " + torch.__version__.split("+")[0], lambda: attention(o))


main()
