"""The other side of the benchmark: the cases of bench/speed.c in PyTorch, with the same protocol.

    peer_torch.py CASE [--bf16] [--channels-last] [--compiled] [--packed] [--growing]
                  [--foreach] [--one-thread]

The first line of output names the version and the threads.
"""
import sys
import time
import warnings

import torch
import torch.nn as nn
import torch.nn.functional as F

THREADS = 2
PROMPT, GENERATED = 32, 200


class Basic(nn.Module):
    """A residual block; the shortcut is torchvision's, or CIFAR's form A without parameters."""

    def __init__(self, inputs, outputs, stride, projection):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.pad = (outputs - inputs) // 2
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if projection and (stride > 1 or inputs != outputs):
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                                            nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.downsample is not None:
            x = self.downsample(x)
        elif self.pad:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return self.relu(y + x)


def resnet8():
    layers = [nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True),
              Basic(16, 16, 1, False), Basic(16, 32, 2, False), Basic(32, 64, 2, False),
              nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    return nn.Sequential(*layers)


def resnet18():
    layers = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True),
              nn.MaxPool2d(3, 2, 1)]
    width = 64
    for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Basic(width, outputs, stride, True), Basic(outputs, outputs, 1, True)]
        width = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x):
        n, length, dim = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, length, 3, self.heads, -1) \
            .permute(2, 0, 3, 1, 4).unbind(0)
        if hasattr(F, "scaled_dot_product_attention"):
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
        x = x + self.proj(y.transpose(1, 2).reshape(n, length, dim))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class ViT(nn.Module):
    def __init__(self, side, patch, dim=192, depth=12, heads=3):
        super().__init__()
        self.patch = nn.Conv2d(3, dim, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, dim))
        self.place = nn.Parameter(torch.randn(1, (side // patch) ** 2 + 1, dim) * 0.02)
        self.blocks = nn.Sequential(*[Block(dim, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place
        return self.head(self.norm(self.blocks(x))[:, 0])


class Decoder(nn.Module):
    """GPT-2's form. With a cache it reads the tokens from place `at` on; the keys and values of
    those before lie in memory made once, or are made longer with each step."""

    def __init__(self, dim=384, depth=6, heads=6, vocabulary=256, length=256, grows=False):
        super().__init__()
        self.heads, self.length, self.grows = heads, length, grows
        self.embedding = nn.Embedding(vocabulary, dim)
        self.place = nn.Embedding(length, dim)
        self.blocks = nn.ModuleList([Block(dim, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.register_buffer("mask", torch.full((length, length), float("-inf")).triu(1))
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, 0, 0.02)

    def cache(self):
        size = (2, 1, self.heads, 0 if self.grows else self.length, 64)
        return [torch.zeros(size) for _ in self.blocks]

    def attend(self, block, x, cache, at):
        n, length, dim = x.shape
        qkv = block.qkv(block.norm1(x)).reshape(n, length, 3, self.heads, -1) \
            .permute(2, 0, 3, 1, 4)
        if cache is None:
            q, k, v = qkv.unbind(0)
        elif self.grows:
            cache = torch.cat([cache, qkv[1:]], 3)
            q, k, v = qkv[0], cache[0], cache[1]
        else:
            cache[:, :, :, at:at + length] = qkv[1:]
            q, k, v = qkv[0], cache[0, :, :, :at + length], cache[1, :, :, :at + length]
        if hasattr(F, "scaled_dot_product_attention"):
            y = F.scaled_dot_product_attention(q, k, v, is_causal=length > 1)
        else:
            s = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
            y = (s + self.mask[:length, :length] if length > 1 else s).softmax(-1) @ v
        return x + block.proj(y.transpose(1, 2).reshape(n, length, dim)), cache

    def forward(self, ids, caches=None, at=0):
        x, kept = self.embedding(ids) + self.place.weight[at:at + ids.shape[1]], []
        for i, block in enumerate(self.blocks):
            x, cache = self.attend(block, x, caches and caches[i], at)
            x = x + block.fc2(F.gelu(block.fc1(block.norm2(x))))
            kept.append(cache)
        x = self.norm(x)
        if caches is None:
            return F.linear(x, self.embedding.weight)
        return F.linear(x[:, -1:], self.embedding.weight), kept


def sgd(model):
    return torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=5e-4, nesterov=True)


def adamw(model):
    return torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=0.05,
                             foreach="--foreach" in sys.argv)


TRAIN = {"train-resnet8": (resnet8, (128, 1, 28, 28), sgd),
         "train-vit": (lambda: ViT(32, 4), (64, 3, 32, 32), adamw),
         "train-vit-224": (lambda: ViT(224, 16), (16, 3, 224, 224), adamw),
         "train-gpt": (Decoder, (8, 256), adamw)}


def training(case, bf16, last):
    make, shape, optimiser = TRAIN[case]
    text = len(shape) == 2
    x = torch.randint(0, 256, shape) if text else torch.randn(*shape)
    y = torch.randint(0, 256, (x.numel(),)) if text else torch.arange(shape[0]) % 10
    model = make().train()
    if last:
        model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    rule = optimiser(model)

    def step():
        rule.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            out = model(x).float()
            loss = F.cross_entropy(out.flatten(0, 1) if text else out, y)
        loss.backward()
        rule.step()
    return step


def prediction(last, compiled):
    """From bytes to an answer, as a program does it."""
    model, pixels = resnet18().eval(), torch.randint(0, 256, (1, 224, 224, 3), dtype=torch.uint8)
    layout = torch.channels_last if last else torch.contiguous_format
    model = model.to(memory_format=layout)
    if compiled:
        with torch.inference_mode():
            model = torch.jit.freeze(torch.jit.trace(model, torch.randn(1, 3, 224, 224)
                                                     .to(memory_format=layout)))

    def step():
        with torch.inference_mode():
            x = (pixels.permute(0, 3, 1, 2).float() / 255).contiguous(memory_format=layout)
            return int(model(x).softmax(-1).argmax())
    return step


def generation(grows, compiled, packed):
    """A prompt is read at once, then the likeliest byte comes, one after another."""
    model, prompt = Decoder(grows=grows).eval(), torch.arange(PROMPT)[None]
    follow = model
    if compiled:
        with torch.inference_mode():
            _, caches = model(prompt, model.cache())
            warnings.simplefilter("ignore")  # of sizes that tracing takes for constants: they are
            follow = torch.jit.freeze(torch.jit.trace(
                model, (prompt[:, :1], caches, torch.tensor(PROMPT)), strict=False))
            if packed:
                follow = torch.jit.optimize_for_inference(follow)
    places = [torch.tensor(i) if compiled else i for i in range(PROMPT + GENERATED)]

    def step():
        with torch.inference_mode():
            out, caches = model(prompt, model.cache())
            for at in places[PROMPT:]:
                out, caches = follow(out.argmax(-1), caches, at)
    return step


def main():
    case, flags = sys.argv[1], sys.argv[2:]
    torch.set_num_threads(1 if "--one-thread" in flags else THREADS)
    torch.manual_seed(1)
    last = "--channels-last" in flags
    if case == "gemm":
        a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
        step = lambda: a @ b
    elif case == "generate-gpt":
        step = generation("--growing" in flags, "--compiled" in flags, "--packed" in flags)
    elif case == "predict-resnet18":
        step = prediction(last, "--compiled" in flags)
    else:
        step = training(case, "--bf16" in flags, last)
    print(torch.__version__, torch.get_num_threads(), flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            step()
            times.append("%.4f" % ((time.perf_counter() - start) * 1e3))
        print(*times, flush=True)


main()
