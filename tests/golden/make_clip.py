#!/usr/bin/env python3
"""Make tests/golden/torch/clip.safetensors: small CLIP models written with PyTorch's functions (made
with PyTorch 1.13), weights with the names of the `transformers` library, computed in float64.

    FORM.param.*             the weights
    FORM.x [3,4,8,2]         images NHWC
    FORM.tokens [3,5]        texts; 10 ends one, and stands in the middle, at the end, and twice
    FORM.image, text [3,5]   embeddings
    FORM.logits [3,3]
    FORM.loss                of both directions
    FORM.grad.*              its gradient by the weights
FORM is quick (quick GELU), erf (GELU), or limit (quick GELU, a scale above 100).
"""
import math

import torch
import torch.nn.functional as F

from make_torch import rounded, write

PATCH, CHANNELS, VOCABULARY, LENGTH, DIM, EPS = 4, 2, 11, 6, 5, 1e-5
TOWERS = {"vision": dict(dim=8, depth=2, heads=2), "text": dict(dim=6, depth=1, heads=3)}
PREFIX = {"vision": "vision_model.", "text": "text_model."}


def small(*shape):
    return rounded(0.4 * torch.randn(shape))


def weights(scale):
    w = {}

    def affine(name, out, into=None, bias=True):
        w[name + ".weight"] = small(out, into) if into else 1 + small(out)
        if bias:
            w[name + ".bias"] = small(out)

    for tower, s in TOWERS.items():
        p, d = PREFIX[tower], s["dim"]
        for i in range(s["depth"]):
            b = f"{p}encoder.layers.{i}."
            for n in "qkv":
                affine(b + f"self_attn.{n}_proj", d, d)
            affine(b + "self_attn.out_proj", d, d)
            affine(b + "layer_norm1", d)
            affine(b + "layer_norm2", d)
            affine(b + "mlp.fc1", 4 * d, d)
            affine(b + "mlp.fc2", d, 4 * d)
    d = TOWERS["vision"]["dim"]
    w["vision_model.embeddings.class_embedding"] = small(d)
    w["vision_model.embeddings.patch_embedding.weight"] = small(d, CHANNELS, PATCH, PATCH)
    w["vision_model.embeddings.position_embedding.weight"] = small(3, d)
    affine("vision_model.pre_layrnorm", d)
    affine("vision_model.post_layernorm", d)
    affine("visual_projection", DIM, d, False)
    d = TOWERS["text"]["dim"]
    w["text_model.embeddings.token_embedding.weight"] = small(VOCABULARY, d)
    w["text_model.embeddings.position_embedding.weight"] = small(LENGTH, d)
    affine("text_model.final_layer_norm", d)
    affine("text_projection", DIM, d, False)
    w["logit_scale"] = rounded(torch.tensor(math.log(scale)))
    return w


def run(w, act, x, tokens):
    def linear(name, h):
        return F.linear(h, w[name + ".weight"], w.get(name + ".bias"))

    def norm(name, h):
        return F.layer_norm(h, h.shape[-1:], w[name + ".weight"], w[name + ".bias"], EPS)

    def blocks(tower, h, mask):
        s = TOWERS[tower]
        for i in range(s["depth"]):
            b = f"{PREFIX[tower]}encoder.layers.{i}."
            y = norm(b + "layer_norm1", h)
            q, k, v = (linear(b + f"self_attn.{n}_proj", y).unflatten(-1, (s["heads"], -1))
                       for n in "qkv")
            a = torch.einsum("nqhd,nkhd->nhqk", q, k) / math.sqrt(q.shape[-1])
            if mask is not None:
                a = a + mask
            y = torch.einsum("nhqk,nkhd->nqhd", a.softmax(-1), v).flatten(2)
            h = h + linear(b + "self_attn.out_proj", y)
            h = h + linear(b + "mlp.fc2", act(linear(b + "mlp.fc1", norm(b + "layer_norm2", h))))
        return h

    n = x.shape[0]
    e = "vision_model.embeddings."
    h = F.conv2d(x.permute(0, 3, 1, 2), w[e + "patch_embedding.weight"], stride=PATCH)
    h = h.flatten(2).transpose(1, 2)
    h = torch.cat([w[e + "class_embedding"].expand(n, 1, -1), h], 1)
    h = norm("vision_model.pre_layrnorm", h + w[e + "position_embedding.weight"])
    h = norm("vision_model.post_layernorm", blocks("vision", h, None)[:, 0])
    image = F.normalize(linear("visual_projection", h), dim=-1)

    e, length = "text_model.embeddings.", tokens.shape[1]
    h = w[e + "token_embedding.weight"][tokens] + w[e + "position_embedding.weight"][:length]
    h = blocks("text", h, torch.full((length, length), -math.inf).triu(1).double())
    end = (tokens == tokens.max(1, keepdim=True).values).int().argmax(1)
    h = norm("text_model.final_layer_norm", h[torch.arange(n), end])
    text = F.normalize(linear("text_projection", h), dim=-1)

    scale = w["logit_scale"].clamp(max=math.log(100)).exp()
    return image, text, scale * image @ text.t()


def main():
    torch.manual_seed(7)
    out = {}
    quick = lambda h: h * torch.sigmoid(1.702 * h)
    for form, act, scale in (("quick", quick, 1 / 0.07), ("erf", F.gelu, 3.0), ("limit", quick, 150.0)):
        w = {k: v.requires_grad_() for k, v in weights(scale).items()}
        x = torch.randn(3, 4, 8, CHANNELS).float()
        tokens = torch.tensor([[9, 3, 10, 0, 0], [9, 1, 2, 8, 10], [9, 10, 4, 10, 0]])
        image, text, logits = run(w, act, x.double(), tokens)
        own = torch.arange(3)
        loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.t(), own)) / 2
        grads = torch.autograd.grad(loss, list(w.values()))
        for (k, v), g in zip(w.items(), grads):
            out[f"{form}.param.{k}"] = v.detach().float().contiguous()
            out[f"{form}.grad.{k}"] = g.contiguous()
        for k, v in dict(x=x, tokens=tokens, image=image, text=text, logits=logits, loss=loss).items():
            out[f"{form}.{k}"] = v.detach().contiguous()
    write("clip", out)


if __name__ == "__main__":
    main()
