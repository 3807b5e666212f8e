"""The workload of bench/generation.c in PyTorch: a prompt is read at once, then the likeliest byte
comes, one after another.

    torch_generation.py gpt generate [--threads N] [--bf16] [--growing] [--compiled] [--packed]

The keys and values of what was read lie in memory made once, or are made longer with each byte
(--growing); --compiled freezes a trace, --packed lays its weights out for oneDNN.
"""
import warnings

import torch
import torch.nn as nn
import torch.nn.functional as F

import protocol

PROMPT, GENERATED, LENGTH, DIM, DEPTH, HEADS, VOCABULARY = 32, 200, 256, 384, 6, 6, 256


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1 = nn.LayerNorm(DIM)
        self.qkv = nn.Linear(DIM, 3 * DIM)
        self.proj = nn.Linear(DIM, DIM)
        self.norm2 = nn.LayerNorm(DIM)
        self.fc1 = nn.Linear(DIM, 4 * DIM)
        self.fc2 = nn.Linear(4 * DIM, DIM)


class Decoder(nn.Module):
    """Reads the tokens from place `at` on, with a cache of those before."""

    def __init__(self, grows):
        super().__init__()
        self.grows = grows
        self.embedding = nn.Embedding(VOCABULARY, DIM)
        self.place = nn.Embedding(LENGTH, DIM)
        self.blocks = nn.ModuleList([Block() for _ in range(DEPTH)])
        self.norm = nn.LayerNorm(DIM)
        self.register_buffer("mask", torch.full((LENGTH, LENGTH), float("-inf")).triu(1))
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, 0, 0.02)

    def cache(self):
        size = (2, 1, HEADS, 0 if self.grows else LENGTH, DIM // HEADS)
        return [torch.zeros(size) for _ in self.blocks]

    def attend(self, block, x, cache, at):
        n, length, dim = x.shape
        qkv = block.qkv(block.norm1(x)).reshape(n, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        qkv = qkv.to(cache.dtype)
        if self.grows:
            cache = torch.cat([cache, qkv[1:]], 3)
            q, k, v = qkv[0], cache[0], cache[1]
        else:
            cache[:, :, :, at:at + length] = qkv[1:]
            q, k, v = qkv[0], cache[0, :, :, :at + length], cache[1, :, :, :at + length]
        if hasattr(F, "scaled_dot_product_attention"):
            y = F.scaled_dot_product_attention(q, k, v, is_causal=bool(length > 1))
        else:
            s = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
            y = (s + self.mask[:length, :length] if length > 1 else s).softmax(-1) @ v
        return x + block.proj(y.transpose(1, 2).reshape(n, length, dim)), cache

    def forward(self, ids, caches, at=0):
        x, kept = self.embedding(ids) + self.place.weight[at:at + ids.shape[1]], []
        for block, cache in zip(self.blocks, caches):
            x, cache = self.attend(block, x, cache, at)
            x = x + block.fc2(F.gelu(block.fc1(block.norm2(x))))
            kept.append(cache)
        return F.linear(self.norm(x)[:, -1:], self.embedding.weight), kept


def generation(o):
    model, prompt = Decoder(o.growing).eval(), torch.arange(PROMPT)[None]
    follow = model
    if o.compiled:
        with torch.inference_mode():
            _, caches = model(prompt, model.cache())
            warnings.simplefilter("ignore")  # of sizes that tracing takes for constants: they are
            follow = torch.jit.freeze(torch.jit.trace(
                model, (prompt[:, :1], caches, torch.tensor(PROMPT)), strict=False))
            if o.packed:
                follow = torch.jit.optimize_for_inference(follow)
    places = [torch.tensor(i) if o.compiled else i for i in range(PROMPT + GENERATED)]

    def step():
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=o.bf16):
            out, caches = model(prompt, model.cache())
            for at in places[PROMPT:]:
                out, caches = follow(out.argmax(-1), caches, at)
    return step


def main():
    o = protocol.options("growing", "compiled", "packed")
    torch.set_num_threads(o.threads)
    torch.manual_seed(1)
    protocol.serve("PyTorch " + torch.__version__.split("+")[0], lambda: generation(o))


main()
