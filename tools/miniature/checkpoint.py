"""Reads and writes safetensors files, so that the machine that trains needs PyTorch and nothing else."""

import json
import math
import struct

import torch

TYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


def read(path):
    """Tensors by name, as stored."""
    with open(path, "rb") as file:
        data = bytearray(file.read())
    (size,) = struct.unpack("<Q", data[:8])
    tensors = {}
    for name, info in json.loads(bytes(data[8 : 8 + size])).items():
        if name != "__metadata__":
            start = 8 + size + info["data_offsets"][0]
            count = math.prod(info["shape"])
            flat = torch.frombuffer(data, dtype=TYPES[info["dtype"]], count=count, offset=start)
            tensors[name] = flat.view(info["shape"]).clone()
    return tensors


def write(path, tensors):
    """The same names in the same order, each in its tensor's type."""
    names = {dtype: name for name, dtype in TYPES.items()}
    header, parts, end = {}, [], 0
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        size = tensor.numel() * tensor.element_size()
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [end, end + size]}
        parts.append(tensor.view(torch.uint8).numpy().tobytes() if tensor.dim() else bytes(tensor))
        end += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(parts))
