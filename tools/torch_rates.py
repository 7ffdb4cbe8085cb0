#!/usr/bin/env python3
"""What PyTorch reaches on the shapes of the model, on random data: matrix products, attention, one layer.

Prints one JSON line per case, as `gallop dev bench --kernels --json` does, so that both can be laid side by side. Needs
torch with a GPU; reads and writes nothing else. Usage: torch_rates.py [FILTER]
"""

import json
import statistics
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

ROWS = [66048, 17088, 4352]
PRODUCTS = [
    ("qkv", 7208, 5120),
    ("proj", 5120, 5120),
    ("up_gate swiglu7", 27304, 5120),
    ("down swiglu7", 5120, 13652),
    ("up gelu7", 20480, 5120),
    ("down gelu7", 5120, 20480),
]
TOKENS = [66046, 17086, 4350]
HEADS, KV_HEADS, HEAD = 40, 8, 128
HIDDEN, FFN = 5120, 13652
RUNS, FEW_RUNS, LONG_MS = 20, 3, 100.0


def normal(*shape, dtype=torch.bfloat16):
    return torch.randn(*shape, device="cuda", dtype=torch.float32).to(dtype)


def times_ms(work):
    """Sorted times of single runs behind one that warms up."""
    times, runs = [], RUNS
    # Takes longer than a launch takes to arrive, and leaves nothing in the cache.
    lead = torch.empty(1 << 28, device="cuda", dtype=torch.uint8)
    work()
    while len(times) < runs:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        lead.zero_()
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
        if times[-1] > LONG_MS:
            runs = FEW_RUNS
    return sorted(times)


def report(name, flops, make):
    """Measures what `make` gives; a case that fails is a line with its problem."""
    if len(sys.argv) > 1 and sys.argv[1] not in name:
        return
    line = {"case": name}
    try:
        times = times_ms(make())
        line |= {
            "runs": len(times),
            "median_ms": statistics.median(times),
            "least_ms": times[0],
            "flops": flops,
        }
    except Exception as error:
        line["problem"] = str(error).splitlines()[0][:300]
    print(json.dumps(line), flush=True)
    torch.cuda.empty_cache()


def bf16_product(m, n, k):
    x, w = normal(m, k), normal(n, k)
    return lambda: F.linear(x, w)


def fp8_product(m, n, k, fast):
    n, k = (-(-size // 16) * 16 for size in (n, k))
    x = normal(m, k, dtype=torch.float8_e4m3fn)
    w = normal(n, k, dtype=torch.float8_e4m3fn).t()
    scales = [torch.ones(m, 1, device="cuda"), torch.ones(1, n, device="cuda")]
    return lambda: torch._scaled_mm(
        x, w, *scales, out_dtype=torch.bfloat16, use_fast_accum=fast
    )


def attention(tokens, backend):
    q = normal(1, HEADS, tokens, HEAD)
    k, v = (normal(1, KV_HEADS, tokens, HEAD) for _ in range(2))

    def work():
        with sdpa_kernel(backend):
            F.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    return work


def layer(tokens):
    """A shared layer with full attention; norms and rotation in f32 as the model has them, nothing compiled."""
    x = normal(tokens, HIDDEN, dtype=torch.float32)
    qkv = normal(7208, HIDDEN) * HIDDEN**-0.5
    proj = normal(HIDDEN, HIDDEN) * HIDDEN**-0.5
    up_gate = normal(2 * FFN, HIDDEN) * HIDDEN**-0.5
    down = normal(HIDDEN, FFN) * FFN**-0.5
    sin, cos = (normal(tokens, 1, 48, dtype=torch.float32) for _ in range(2))
    ends = [HEADS * HEAD, KV_HEADS * HEAD, KV_HEADS * HEAD, HEADS]

    def norm(x):
        return F.rms_norm(x.float(), (x.shape[-1],), eps=1e-6)

    def rotated(x):
        a, b, rest = x[..., :48], x[..., 48:96], x[..., 96:]
        return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1).bfloat16()

    def heads(x, count):
        return x.view(tokens, count, HEAD)

    def swiglu7(u):
        a, b = u[:, 0::2].float().clamp(max=7), u[:, 1::2].float().clamp(-7, 7)
        return (a * torch.sigmoid(1.702 * a) * (b + 1)).bfloat16()

    def work():
        q, k, v, gate = F.linear(norm(x).bfloat16(), qkv).split(ends, -1)
        q, k = rotated(norm(heads(q, HEADS))), rotated(norm(heads(k, KV_HEADS)))
        q, k, v = (t.transpose(0, 1)[None] for t in (q, k, heads(v, KV_HEADS)))
        y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)[0].transpose(0, 1)
        y = (y * torch.sigmoid(gate.float())[..., None]).bfloat16()
        middle = x + F.linear(y.reshape(tokens, -1), proj)
        return middle + F.linear(swiglu7(F.linear(norm(middle).bfloat16(), up_gate)), down)

    return work


def main():
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    print(json.dumps({"torch": torch.__version__, "device": torch.cuda.get_device_name()}))
    for m in ROWS:
        for name, n, k in PRODUCTS:
            flops, shape = 2.0 * m * n * k, f"gemm/{name} {m}x{n}x{k}"
            report(f"{shape}, torch bf16", flops, lambda: bf16_product(m, n, k))
            report(f"{shape}, torch fp8", flops, lambda: fp8_product(m, n, k, False))
            report(f"{shape}, torch fp8 fast", flops, lambda: fp8_product(m, n, k, True))
    for tokens in TOKENS:
        flops = 4.0 * tokens * tokens * HEADS * HEAD
        for name, backend in [
            ("flash", SDPBackend.FLASH_ATTENTION),
            ("cudnn", SDPBackend.CUDNN_ATTENTION),
        ]:
            case = f"attention/full of {tokens} tokens, torch {name}"
            report(case, flops, lambda: attention(tokens, backend))
    for tokens in TOKENS:
        weights = HIDDEN * (7208 + HIDDEN + 3 * FFN)
        flops = 2.0 * tokens * weights + 4.0 * tokens * tokens * HEADS * HEAD
        report(f"layer/{tokens} tokens, torch", flops, lambda: layer(tokens))


if __name__ == "__main__":
    main()
