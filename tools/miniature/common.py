"""What the training steps share: clips of the world, checkpoints that go on where they stopped, a record of the run."""

import argparse
import json
import math
import queue
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import torch

import networks

LANGUAGES = ["en", "zh", "yue", "ja", "ko", "de", "fr"]
HOP = 2048
FRAMES = 49
# Channels of the latents that mean something; tools/miniature/world/src/latents.rs says what.
VIDEO = 33
AUDIO = 16


def arguments(about, **more):
    parser = argparse.ArgumentParser(description=about)
    made = "folder that `gallop dev synth --config miniature` wrote"
    parser.add_argument("--model", default="out/miniature/model", help=made)
    parser.add_argument("--work", default="out/miniature", help="folder for checkpoints and the record")
    parser.add_argument("--world", default="target/world/release/world", help="the program of tools/miniature/world")
    parser.add_argument("--minutes", type=float, default=8.5, help="stop after this long; run again to go on")
    parser.add_argument("--steps", type=int, default=more.pop("steps"), help="steps in all")
    parser.add_argument("--batch", type=int, default=more.pop("batch"), help="clips in a step")
    parser.add_argument("--side", type=int, default=96, help="pixels of a side of a frame")
    parser.add_argument("--rate", type=float, default=more.pop("rate"), help="largest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="begin with the folder's weights instead of random ones")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for name, (value, text) in more.items():
        parser.add_argument(f"--{name}", type=type(value), default=value, help=text)
    options = parser.parse_args()
    Path(options.work).mkdir(parents=True, exist_ok=True)
    return options


def clips(options, parts, first):
    """What `world stream` writes of one clip after the other from number `first` on: a dictionary of the arrays that
    `parts` names, made ahead by another process.

    v video latents [VIDEO, T, S / 16, S / 16], a audio latents [A, AUDIO], f frames [T, S, S, 3] of bytes, s samples
    [2048 A, 2], p seven prompts."""
    side, cells = options.side, options.side // 16
    shapes = {
        "v": (np.float32, (VIDEO, (FRAMES + 3) // 4, cells, cells)),
        "a": (np.float32, (FRAMES + 2, AUDIO)),
        "f": (np.uint8, (FRAMES, side, side, 3)),
        "s": (np.float32, ((FRAMES + 2) * HOP, 2)),
    }
    numbers = map(str, (options.seed, first, 10**9, side, FRAMES))
    pipe = subprocess.Popen([options.world, "stream", parts, *numbers], stdout=subprocess.PIPE).stdout
    ready = queue.Queue(maxsize=2 * options.batch)

    def take(size):
        data = pipe.read(size)
        if len(data) < size:
            raise EOFError("the program of the world stopped")
        return data

    def read():
        while True:
            clip = {}
            for part, (dtype, shape) in shapes.items():
                if part in parts:
                    data = bytearray(take(math.prod(shape) * np.dtype(dtype).itemsize))
                    clip[part] = np.frombuffer(data, dtype).reshape(shape)
            if "p" in parts:
                clip["p"] = [take(int.from_bytes(take(4), "little")).decode() for _ in LANGUAGES]
            ready.put(clip)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield ready.get(timeout=300)


def padded(latents, channels, axis):
    """Latents with zeros for the channels without a meaning."""
    pad = [0, 0] * (latents.dim() - axis)
    pad[-1] = channels - latents.shape[axis]
    return torch.nn.functional.pad(latents, pad)


def start(options, name, seed):
    """A network's tensors as they are before training. With --keep those of the folder, which are the trained ones of
    the program that wrote it. Else random ones: products with deviation 1 / sqrt(inputs), biases zero, the last layer
    of each residual branch zero, so that the first steps are those of a shallow network."""
    weights, config = networks.load(options.model, name)
    if options.keep:
        return weights, config
    generator = torch.Generator().manual_seed(seed)
    for key, tensor in weights.items():
        if key.endswith("rope.bands"):
            continue
        closed = ("linear_proj.weight", "down_proj.weight", "o_proj.weight", "conv2.conv.weight", "final_linear")
        if key.endswith(("bias", "alpha", "beta", "norm.weight")) or any(part in key for part in closed):
            tensor.zero_()
        elif tensor.dim() == 1:
            tensor.zero_()
        elif "embed_tokens" in key:
            tensor.normal_(std=tensor.shape[1] ** -0.5, generator=generator)
        elif key.endswith("weight_g"):
            kernel = weights[key[:-1] + "v"]
            is_transposed = kernel.shape[2] % 2 == 0
            tensor.fill_((kernel.shape[2] / 4) ** 0.5 if is_transposed else 0.2 if kernel.shape[2] == 1 else 1.0)
        elif "block.layers.0." in key:
            # Three modalities' weights above each other.
            tensor.normal_(std=tensor.shape[1] ** -0.5, generator=generator)
        else:
            tensor.normal_(std=tensor[0].numel() ** -0.5, generator=generator)
    return weights, config


class Run:
    """A training run of named parameter dictionaries: the optimiser, the averaged weights, the record."""

    def __init__(self, name, options, groups):
        self.name, self.options, self.groups = name, options, groups
        self.parameters = [p.requires_grad_() for group in groups.values() for p in group.values()]
        self.optimiser = torch.optim.AdamW(self.parameters, lr=options.rate, betas=(0.9, 0.98), weight_decay=0.01)
        self.average = {g: {k: v.detach().clone() for k, v in group.items()} for g, group in groups.items()}
        self.step, self.seconds, self.losses = 0, 0.0, []
        self.path = Path(options.work) / f"{name}.pt"
        if self.path.exists():
            state = torch.load(self.path, map_location=options.device)
            for g, group in state["groups"].items():
                for k, v in group.items():
                    self.groups[g][k].data.copy_(v)
            self.average, self.step, self.seconds = state["average"], state["step"], state["seconds"]
            self.optimiser.load_state_dict(state["optimiser"])
        self.start = self.saved = time.monotonic()

    def is_done(self):
        now = time.monotonic()
        if now - self.saved > 120:
            self.save()
            self.saved = now
        return self.step >= self.options.steps or now - self.start > self.options.minutes * 60

    def rate(self):
        """Warm up over two hundred steps; over the last half of all down to a hundredth along a cosine."""
        done = 2 * self.step / max(self.options.steps, 1) - 1
        fall = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(max(done, 0.0), 1.0)))
        return self.options.rate * fall * min(1.0, (self.step + 1) / 200)

    def update(self, loss, note=""):
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.step += 1
        decay = min(0.998, self.step / (self.step + 10))
        with torch.no_grad():
            for g, group in self.groups.items():
                for k, v in group.items():
                    self.average[g][k].lerp_(v, 1 - decay)
        self.losses.append(float(loss.detach()))
        if self.step % 50 == 0:
            seconds = time.monotonic() - self.start
            loss = np.mean(self.losses[-50:])
            print(f"{self.name} step {self.step} loss {loss:.4f} {note} {seconds:.0f} s", flush=True)

    def save(self, **figures):
        seconds = self.seconds + time.monotonic() - self.start
        state = {
            "groups": {g: {k: v.detach() for k, v in group.items()} for g, group in self.groups.items()},
            "average": self.average,
            "step": self.step,
            "seconds": seconds,
            "optimiser": self.optimiser.state_dict(),
        }
        torch.save(state, self.path.with_suffix(".part"))
        self.path.with_suffix(".part").rename(self.path)
        record = Path(self.options.work) / f"{self.name}.json"
        loss = float(np.mean(self.losses[-200:])) if self.losses else None
        text = {"steps": self.step, "batch": self.options.batch, "seconds": round(seconds), "loss": loss, **figures}
        record.write_text(json.dumps(text, indent=2) + "\n")
