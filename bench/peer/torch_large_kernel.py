"""The workloads of bench/large_kernel.c in PyTorch.

    torch_large_kernel.py large-kernel-K train|infer [--batch N] [--threads N] [--channels-last]
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

import protocol

SIDE, CHANNELS, TRAIN_BATCH = 56, 128, 8


class Block(nn.Module):
    def __init__(self, kernel):
        super().__init__()
        self.depthwise = nn.Conv2d(CHANNELS, CHANNELS, kernel, 1, kernel // 2, groups=CHANNELS, bias=False)
        self.norm = nn.BatchNorm2d(CHANNELS)
        self.wide = nn.Conv2d(CHANNELS, 4 * CHANNELS, 1)
        self.narrow = nn.Conv2d(4 * CHANNELS, CHANNELS, 1)

    def forward(self, x):
        return x + self.narrow(F.gelu(self.wide(self.norm(self.depthwise(x)))))


def block(o):
    train = o.phase == "train"
    layout = torch.channels_last if o.channels_last else torch.contiguous_format
    model = Block(int(o.workload.split("-")[-1])).to(memory_format=layout).train(train)
    batch = o.batch or (TRAIN_BATCH if train else 1)
    x, gradient = (torch.randn(batch, CHANNELS, SIDE, SIDE).to(memory_format=layout) for _ in range(2))
    if not train:
        def infer():
            with torch.inference_mode():
                return model(x)
        return infer
    x.requires_grad_()

    def step():
        x.grad = None
        model.zero_grad(set_to_none=True)
        model(x).backward(gradient)
    return step


def main():
    o = protocol.options("channels-last")
    torch.set_num_threads(o.threads)
    torch.manual_seed(1)
    protocol.serve("PyTorch " + torch.__version__.split("+")[0], lambda: block(o))


main()
