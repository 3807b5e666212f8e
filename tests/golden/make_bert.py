#!/usr/bin/env python3
"""Make tests/golden/torch/bert.safetensors: a small BERT with random weights in the library
`transformers` (made with 4.30.2 and PyTorch 1.13), its tokens, and what it makes of them.

    bert.*              the weights, as BertModel saves them below "bert."
    tokens [4,6]        rows with 0 at the end, and one with two texts parted by 2
    hidden [4,6,8]      the last block
    cls, mean, pooler   [4,8] features
"""
import os

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

torch.manual_seed(5)
model = BertModel(BertConfig(
    vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12,
    max_position_embeddings=7, type_vocab_size=2)).eval()
for p in model.parameters():
    p.data = torch.randn_like(p) * 0.4
tokens = torch.tensor([[1, 5, 6, 7, 8, 2], [1, 9, 2, 0, 0, 0], [1, 11, 2, 12, 13, 2], [1, 14, 15, 2, 0, 0]])
types = torch.tensor([[0] * 6, [0] * 6, [0, 0, 0, 1, 1, 1], [0] * 6])
mask = (tokens != 0).long()
with torch.no_grad():
    y = model(tokens, mask, types)
hidden, m = y.last_hidden_state, mask.unsqueeze(-1).float()
out = {"bert." + k: v.contiguous() for k, v in model.state_dict().items()}
out.update(tokens=tokens, hidden=hidden, cls=hidden[:, 0].contiguous(),
           mean=(hidden * m).sum(1) / m.sum(1), pooler=y.pooler_output)
save_file(out, os.path.join(os.path.dirname(os.path.abspath(__file__)), "torch", "bert.safetensors"))
