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

LANGUAGES = ["en", "zh", "yue", "ja", "ko", "de", "fr"]
HOP = 2048


def arguments(about, **more):
    parser = argparse.ArgumentParser(description=about)
    made = "folder that `gallop synth --config miniature` wrote"
    parser.add_argument("--model", default="out/miniature/model", help=made)
    parser.add_argument("--work", default="out/miniature", help="folder for checkpoints, latents and the record")
    parser.add_argument("--world", default="target/world/release/world", help="the program of tools/miniature/world")
    parser.add_argument("--minutes", type=float, default=8.5, help="stop after this long; run again to go on")
    parser.add_argument("--steps", type=int, default=more.pop("steps"), help="steps in all")
    parser.add_argument("--batch", type=int, default=more.pop("batch"), help="clips in a step")
    parser.add_argument("--side", type=int, default=96, help="pixels of a side of a frame")
    parser.add_argument("--rate", type=float, default=more.pop("rate"), help="largest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for name, (value, text) in more.items():
        parser.add_argument(f"--{name}", type=type(value), default=value, help=text)
    options = parser.parse_args()
    Path(options.work).mkdir(parents=True, exist_ok=True)
    return options


class Clips:
    """Batches of clips, made by other processes while one trains: frames [B, 3, T, S, S] within +-1, samples
    [B, 2, 2048 (T + 2)], and of each clip its prompts in seven languages."""

    def __init__(self, options, frames, first=0, count=10**9, processes=2):
        self.options, self.frames = options, frames
        self.queue = queue.Queue(maxsize=4)
        share = max(1, count // processes)
        for index in range(processes):
            start = first + index * share
            threading.Thread(target=self.read, args=(start, share), daemon=True).start()

    def read(self, first, count):
        side, frames = self.options.side, self.frames
        program = [self.options.world, "stream", *map(str, (self.options.seed, first, count, side, frames))]
        pipe = subprocess.Popen(program, stdout=subprocess.PIPE).stdout

        def take(size):
            data = pipe.read(size)
            if len(data) < size:
                raise EOFError("the program of the world stopped")
            return data

        while True:
            batch = []
            for _ in range(self.options.batch):
                pixels = np.frombuffer(take(frames * side * side * 3), np.uint8).reshape(frames, side, side, 3)
                samples = np.frombuffer(take((frames + 2) * HOP * 8), np.float32).reshape(-1, 2)
                prompts = [take(int.from_bytes(take(4), "little")).decode() for _ in LANGUAGES]
                batch.append((pixels, samples, prompts))
            self.queue.put(batch)

    def next(self):
        batch = self.queue.get(timeout=300)
        pixels = torch.from_numpy(np.stack([clip[0] for clip in batch])).to(self.options.device)
        samples = torch.from_numpy(np.stack([clip[1] for clip in batch])).to(self.options.device)
        video = pixels.permute(0, 4, 1, 2, 3).float() / 127.5 - 1
        return video, samples.transpose(1, 2).contiguous(), [clip[2] for clip in batch]


class Run:
    """A training run of named parameter dictionaries: the optimiser, the averaged weights, the record."""

    def __init__(self, name, options, groups, buffers=()):
        self.name, self.options = name, options
        self.groups, self.buffers = groups, dict(buffers)
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
            for k, v in state["buffers"].items():
                self.buffers[k].copy_(v)
            self.average, self.step, self.seconds = state["average"], state["step"], state["seconds"]
            self.optimiser.load_state_dict(state["optimiser"])
        self.start = time.monotonic()

    def is_done(self):
        return self.step >= self.options.steps or time.monotonic() - self.start > self.options.minutes * 60

    def rate(self):
        """Warm up over a hundred steps, then down to a twentieth along a cosine."""
        done = self.step / max(self.options.steps, 1)
        fall = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        return self.options.rate * fall * min(1.0, (self.step + 1) / 100)

    def update(self, loss):
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.step += 1
        decay = min(0.999, self.step / (self.step + 10))
        with torch.no_grad():
            for g, group in self.groups.items():
                for k, v in group.items():
                    self.average[g][k].lerp_(v, 1 - decay)
        self.losses.append(float(loss.detach()))
        if self.step % 50 == 0:
            seconds = time.monotonic() - self.start
            print(f"{self.name} step {self.step} loss {np.mean(self.losses[-50:]):.4f} {seconds:.0f} s", flush=True)

    def save(self, **figures):
        seconds = self.seconds + time.monotonic() - self.start
        state = {
            "groups": {g: {k: v.detach() for k, v in group.items()} for g, group in self.groups.items()},
            "buffers": self.buffers,
            "average": self.average,
            "step": self.step,
            "seconds": seconds,
            "optimiser": self.optimiser.state_dict(),
        }
        torch.save(state, self.path.with_suffix(".part"))
        self.path.with_suffix(".part").rename(self.path)
        record = Path(self.options.work) / "record.json"
        all_records = json.loads(record.read_text()) if record.exists() else {}
        loss = float(np.mean(self.losses[-200:])) if self.losses else None
        all_records[self.name] = {"steps": self.step, "seconds": round(seconds), "loss": loss, **figures}
        record.write_text(json.dumps(all_records, indent=2) + "\n")


class Whiten:
    """Brings each channel to mean 0 and deviation 1: by the batch's own figures in training, kept as running ones."""

    def __init__(self, channels, device):
        self.mean = torch.zeros(channels, device=device)
        self.variance = torch.ones(channels, device=device)

    def __call__(self, x, is_training):
        """x [..., channels]."""
        if is_training:
            flat = x.flatten(0, -2)
            mean, variance = flat.mean(0), flat.var(0)
            with torch.no_grad():
                self.mean.lerp_(mean, 0.01)
                self.variance.lerp_(variance, 0.01)
        else:
            mean, variance = self.mean, self.variance
        return (x - mean) * torch.rsqrt(variance + 1e-5)

    def buffers(self):
        return {"mean": self.mean, "variance": self.variance}
