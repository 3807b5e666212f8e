"""The writer of safetensors files that the scripts of this folder share."""
import json
import struct

import numpy as np

NAMES = {"float32": "F32", "float64": "F64"}


def write(path, tensors):
    """Tensors of PyTorch by name, in this order."""
    header, at, parts = {}, 0, []
    for key, value in tensors.items():
        a = np.ascontiguousarray(value.detach().numpy())
        header[key] = {"dtype": NAMES[str(a.dtype)], "shape": list(a.shape),
                       "data_offsets": [at, at + a.nbytes]}
        parts.append(a.tobytes())
        at += a.nbytes
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head + b"".join(parts))
