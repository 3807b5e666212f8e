"""The workloads of bench/networks.c and bench/machine.c in PyTorch.

    torch_networks.py WORKLOAD PHASE [--batch N] [--threads N] [--bf16] [--channels-last] [--compiled]
                      [--foreach]
"""
import warnings

import torch
import torch.nn as nn
import torch.nn.functional as F

import protocol

SHAPES = {"resnet8": (128, 28, 1, 10), "resnet18": (64, 32, 3, 10),
          "resnet18-224": (16, 224, 3, 1000), "resnet50": (8, 224, 3, 1000),
          "mobilenet": (64, 96, 3, 1000), "vit-tiny": (64, 32, 3, 10), "vit-small": (16, 224, 3, 1000),
          "vit-small-lora": (16, 224, 3, 1000)}  # batch, side, channels, classes
TEXTS = {"gpt-256": (8, 256), "gpt-1024": (2, 1024)}


def conv_norm(inputs, outputs, kernel, stride):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)


class Residual(nn.Module):
    """A residual block, plain or a bottleneck; the shortcut is torchvision's, or CIFAR's form A without
    parameters."""

    def __init__(self, inputs, width, stride, bottleneck, projection):
        super().__init__()
        outputs = width * 4 if bottleneck else width
        if bottleneck:
            layers = [*conv_norm(inputs, width, 1, 1), nn.ReLU(inplace=True),
                      *conv_norm(width, width, 3, stride), nn.ReLU(inplace=True),
                      *conv_norm(width, outputs, 1, 1)]
        else:
            layers = [*conv_norm(inputs, width, 3, stride), nn.ReLU(inplace=True),
                      *conv_norm(width, width, 3, 1)]
        self.layers = nn.Sequential(*layers)
        self.relu = nn.ReLU(inplace=True)
        self.pad = (outputs - inputs) // 2
        self.downsample = None
        if projection and (stride > 1 or inputs != outputs):
            self.downsample = nn.Sequential(*conv_norm(inputs, outputs, 1, stride))

    def forward(self, x):
        y = self.layers(x)
        if self.downsample is not None:
            x = self.downsample(x)
        elif self.pad:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return self.relu(y + x)


def resnet(blocks, width, channels, classes, small, bottleneck, projection):
    layers = [*conv_norm(channels, width, 3 if small else 7, 1 if small else 2),
              nn.ReLU(inplace=True)]
    if not small:
        layers.append(nn.MaxPool2d(3, 2, 1))
    inputs = width
    for stage, count in enumerate(blocks):
        for block in range(count):
            stride = 2 if stage and not block else 1
            layers.append(Residual(inputs, width, stride, bottleneck, projection))
            inputs = width * 4 if bottleneck else width
        width *= 2
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


def eights(channels):
    return max(8, (channels + 4) // 8 * 8)


class Bottleneck(nn.Module):
    """Of MobileNetV3, with torchvision's layers in torchvision's order."""

    def __init__(self, inputs, kernel, expanded, outputs, squeeze, hard, stride):
        super().__init__()
        act = nn.Hardswish if hard else nn.ReLU
        layers = []
        if expanded != inputs:
            layers += [*mobile_norm(inputs, expanded, 1, 1), act(inplace=True)]
        layers += [*mobile_norm(expanded, expanded, kernel, stride, expanded), act(inplace=True)]
        if squeeze:
            layers.append(Squeeze(expanded))
        self.layers = nn.Sequential(*layers, *mobile_norm(expanded, outputs, 1, 1))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        y = self.layers(x)
        return x + y if self.residual else y


class Squeeze(nn.Module):
    def __init__(self, channels):
        super().__init__()
        narrow = eights(channels // 4)
        self.reduce, self.expand = nn.Conv2d(channels, narrow, 1), nn.Conv2d(narrow, channels, 1)

    def forward(self, x):
        return F.hardsigmoid(self.expand(F.relu(self.reduce(F.adaptive_avg_pool2d(x, 1))))) * x


def mobile_norm(inputs, outputs, kernel, stride, groups=1):
    return (nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, 1e-3, 0.01))


def mobilenet(channels, classes):
    """MobileNetV3-Small."""
    blocks = [(3, 16, 16, True, False, 2), (3, 72, 24, False, False, 2), (3, 88, 24, False, False, 1),
              (5, 96, 40, True, True, 2), (5, 240, 40, True, True, 1), (5, 240, 40, True, True, 1),
              (5, 120, 48, True, True, 1), (5, 144, 48, True, True, 1), (5, 288, 96, True, True, 2),
              (5, 576, 96, True, True, 1), (5, 576, 96, True, True, 1)]
    layers, inputs = [*mobile_norm(channels, 16, 3, 2), nn.Hardswish(inplace=True)], 16
    for kernel, expanded, outputs, squeeze, hard, stride in blocks:
        layers.append(Bottleneck(inputs, kernel, expanded, outputs, squeeze, hard, stride))
        inputs = outputs
    return nn.Sequential(*layers, *mobile_norm(96, 576, 1, 1), nn.Hardswish(inplace=True),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(576, 1024),
                         nn.Hardswish(inplace=True), nn.Dropout(0.2), nn.Linear(1024, classes))


class LoRA(nn.Module):
    """A frozen linear layer and a low-rank update beside it, as PEFT computes it."""

    def __init__(self, base, rank=8, alpha=8):
        super().__init__()
        self.base, self.scale = base, alpha / rank
        self.a = nn.Linear(base.in_features, rank, bias=False)
        self.b = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, x):
        return self.base(x) + self.b(self.a(x)) * self.scale


def adapted(vit):
    """The attention's layers adapted, the rest but the head frozen."""
    vit.requires_grad_(False)
    vit.head.requires_grad_(True)
    for block in vit.blocks:
        block.qkv, block.proj = LoRA(block.qkv), LoRA(block.proj)
    return vit


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

    def forward(self, x, mask=None):
        n, length, dim = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, length, 3, self.heads, -1) \
            .permute(2, 0, 3, 1, 4).unbind(0)
        if hasattr(F, "scaled_dot_product_attention"):
            y = F.scaled_dot_product_attention(q, k, v, is_causal=mask is not None)
        else:
            s = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
            y = (s if mask is None else s + mask).softmax(-1) @ v
        x = x + self.proj(y.transpose(1, 2).reshape(n, length, dim))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class ViT(nn.Module):
    def __init__(self, side, patch, classes, dim, depth, heads):
        super().__init__()
        self.patch = nn.Conv2d(3, dim, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, dim))
        self.place = nn.Parameter(torch.randn(1, (side // patch) ** 2 + 1, dim) * 0.02)
        self.blocks = nn.Sequential(*[Block(dim, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, classes)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place
        return self.head(self.norm(self.blocks(x))[:, 0])


class Decoder(nn.Module):
    """GPT-2's form."""

    def __init__(self, length, dim=384, depth=6, heads=6, vocabulary=256):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, dim)
        self.place = nn.Embedding(length, dim)
        self.blocks = nn.ModuleList([Block(dim, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.register_buffer("mask", torch.full((length, length), float("-inf")).triu(1))
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, 0, 0.02)

    def forward(self, ids):
        x = self.embedding(ids) + self.place.weight
        for block in self.blocks:
            x = block(x, self.mask)
        return F.linear(self.norm(x), self.embedding.weight)


def network(workload):
    if workload in TEXTS:
        return Decoder(TEXTS[workload][1])
    _, side, channels, classes = SHAPES[workload]
    if workload == "resnet8":
        return resnet([1, 1, 1], 16, channels, classes, True, False, False)
    if workload in ("resnet18", "resnet18-224"):
        return resnet([2, 2, 2, 2], 64, channels, classes, side < 64, False, True)
    if workload == "resnet50":
        return resnet([3, 4, 6, 3], 64, channels, classes, False, True, True)
    if workload == "mobilenet":
        return mobilenet(channels, classes)
    if workload == "vit-tiny":
        return ViT(side, 4, classes, 192, 12, 3)
    vit = ViT(side, 16, classes, 384, 12, 6)
    return adapted(vit) if workload == "vit-small-lora" else vit


def compiled(model, example):
    """The whole network as one graph: torch.compile, or before version 2 a frozen trace."""
    if hasattr(torch, "compile"):
        return torch.compile(model)
    warnings.simplefilter("ignore")
    with torch.inference_mode():
        return torch.jit.freeze(torch.jit.trace(model, example))


def training(o):
    text = o.workload in TEXTS
    batch = o.batch or (TEXTS if text else SHAPES)[o.workload][0]
    model = network(o.workload).train()
    if text:
        x = torch.randint(0, 256, (batch, TEXTS[o.workload][1]))
        y = torch.randint(0, 256, (x.numel(),))
    else:
        _, side, channels, classes = SHAPES[o.workload]
        x, y = torch.randn(batch, channels, side, side), torch.randint(0, classes, (batch,))
    if o.channels_last:
        model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    if text or o.workload.startswith("vit"):
        trained = [p for p in model.parameters() if p.requires_grad]
        rule = torch.optim.AdamW(trained, 1e-4, weight_decay=0.05, foreach=o.foreach)
    else:
        rule = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=5e-4,
                               nesterov=True, foreach=o.foreach)
    run = compiled(model, x) if o.compiled else model

    def step():
        rule.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=o.bf16):
            out = run(x).float()
            loss = F.cross_entropy(out.flatten(0, 1) if text else out, y)
        loss.backward()
        rule.step()
    return step


def inference(o):
    """At batch 1 from bytes to an answer, as a program does it; else scores of pictures in float32."""
    text = o.workload in TEXTS
    batch = o.batch or 1
    layout = torch.channels_last if o.channels_last else torch.contiguous_format
    model = network(o.workload).eval()
    if text:
        x = torch.randint(0, 256, (batch, TEXTS[o.workload][1]))
    else:
        _, side, channels, _ = SHAPES[o.workload]
        model = model.to(memory_format=layout)
        x = torch.randn(batch, channels, side, side).to(memory_format=layout)
        pixels = torch.randint(0, 256, (1, side, side, channels), dtype=torch.uint8)
    run = compiled(model, x) if o.compiled else model

    def step():
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=o.bf16):
            if text or batch > 1 or o.bf16:
                return run(x)
            picture = (pixels.permute(0, 3, 1, 2).float() / 255).contiguous(memory_format=layout)
            return int(run(picture).softmax(-1).argmax())
    return step


def gemm(o):
    dtype = torch.bfloat16 if o.bf16 else torch.float32
    a, b = torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
    return lambda: a @ b


def main():
    o = protocol.options("channels-last", "compiled", "foreach")
    torch.set_num_threads(o.threads)
    torch.manual_seed(1)
    make = gemm if o.workload == "gemm" else training if o.phase == "train" else inference
    protocol.serve("PyTorch " + torch.__version__.split("+")[0], lambda: make(o))


if __name__ == "__main__":
    main()
