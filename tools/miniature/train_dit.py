"""Trains text encoder and denoising network together by flow matching: the velocity from clean latents to noise.
python tools/miniature/train_dit.py"""

from pathlib import Path

import torch

import networks
from common import AUDIO, VIDEO, Run, arguments, clips, padded, start
from tokens import Tokenizer

SHIFT = 5.0
STEPS = 8


def steps_of(count, generator):
    """Numbers of sampling steps, the first ones most often, since there the network must learn what a prompt means."""
    return torch.multinomial(torch.linspace(STEPS, 1, STEPS), count, replacement=True, generator=generator)


def sigmas(step, device):
    """Noise levels of the sampler's steps, the only ones the network is ever asked about."""
    level = 0.999 / STEPS * (STEPS - step.to(device))
    return SHIFT * level / (1 + (SHIFT - 1) * level)


def rows_of(ids, device):
    """Ids [B, T] and where they are; T is a multiple of 24, so that hardly more than one shape occurs."""
    longest = -(-max(map(len, ids)) // 24) * 24
    rows = torch.zeros(len(ids), longest, dtype=torch.long)
    is_token = torch.zeros(len(ids), longest, dtype=torch.bool)
    for row, one in enumerate(ids):
        rows[row, : len(one)] = torch.tensor(one)
        is_token[row, : len(one)] = True
    return rows.to(device), is_token.to(device)


def like(sigma, x):
    """A number for each clip, in the shape of x."""
    return sigma.view(-1, *[1] * (x.dim() - 1))


def batches(options, first):
    """Clean latents [B, 48, T, H, W] and [B, A, 64], ids of a prompt in one of the languages, and where they are."""
    tokenizer = Tokenizer(Path(options.model) / "t5gemma-9b-9b-ul2/tokenizer.json")
    source = clips(options, "vap", first)
    generator = torch.Generator().manual_seed(options.seed + first)
    while True:
        made = [next(source) for _ in range(options.batch)]
        video = torch.stack([torch.from_numpy(clip["v"]) for clip in made]).to(options.device)
        audio = torch.stack([torch.from_numpy(clip["a"]) for clip in made]).to(options.device)
        spoken = torch.randint(7, (options.batch,), generator=generator).tolist()
        ids = [tokenizer.ids(clip["p"][language]) for clip, language in zip(made, spoken)]
        yield padded(video, networks.CHANNELS, 1), padded(audio, 64, 2), *rows_of(ids, options.device)


class Sampler:
    """The networks as they are trained so far, which make latents as the program does."""

    def __init__(self, options):
        self.path, self.device, self.read = Path(options.work) / "dit.pt", options.device, None
        self.text_config, self.dit_config = (networks.load(options.model, name)[1] for name in ("text", "dit"))
        self.bands = networks.load(options.model, "dit")[0]["adapter.rope.bands"].to(options.device)

    def refresh(self):
        """Reads the weights again if there are newer ones."""
        written = self.path.stat().st_mtime
        if written != self.read:
            average = torch.load(self.path, map_location=self.device)["average"]
            self.text, self.dit = average["text"], used(average["dit"]) | {"adapter.rope.bands": self.bands}
            self.read = written

    @torch.no_grad()
    def finished(self, video, audio, ids, is_token, step, generator):
        """The latents of clips after the last step, that had the noise of step number `step` on them."""
        made = [video, audio]
        with torch.autocast(self.device.split(":")[0], torch.bfloat16):
            features = networks.encode_text(self.text, self.text_config, ids, is_token)
            for index in range(step, STEPS):
                sigma = sigmas(torch.full((len(ids),), index), self.device)
                noises = [torch.randn(x.shape, device=self.device, generator=generator) for x in made]
                noised = [x.lerp(noise, like(sigma, x)) for x, noise in zip(made, noises)]
                velocities = networks.denoise(self.dit, self.dit_config, *noised, features, is_token)
                made = [x - v.float() * like(sigma, x) for x, v in zip(noised, velocities)]
        return made


def used(weights):
    """The weights with zeros where channels without a meaning come in or go out."""
    kept = dict(weights)
    for name, per_token, channels, count in (("video", 4, 48, VIDEO), ("audio", 1, 64, AUDIO)):
        weight = weights[f"adapter.{name}_embedder.weight"]
        # In, the channel is slowest; out, it is fastest.
        slow = torch.arange(weight.shape[1], device=weight.device) // per_token < count
        kept[f"adapter.{name}_embedder.weight"] = weight * slow
        fast = torch.arange(weight.shape[1], device=weight.device) % channels < count
        kept[f"final_linear_{name}.weight"] = weights[f"final_linear_{name}.weight"] * fast[:, None]
    return kept


def main():
    more = {"own": (16, "how many clips of a batch go on from the network's own estimate, as they do in the sampler")}
    options = arguments(__doc__, steps=5700, batch=32, rate=1.5e-3, **more)
    torch.manual_seed(options.seed)
    text, text_config = start(options, "text", options.seed)
    dit, dit_config = start(options, "dit", options.seed + 1)
    bands = dit.pop("adapter.rope.bands").to(options.device)
    groups = {
        "text": {k: v.to(options.device) for k, v in text.items()},
        "dit": {k: v.to(options.device) for k, v in dit.items()},
    }
    run = Run("dit", options, groups)
    generator = torch.Generator(options.device).manual_seed(options.seed + run.step)
    levels = torch.Generator().manual_seed(options.seed + run.step)
    kind = options.device.split(":")[0]

    def velocities(groups, video, audio, ids, is_token):
        with torch.autocast(kind, torch.bfloat16):
            features = networks.encode_text(groups["text"], text_config, ids, is_token)
            weights = used(groups["dit"]) | {"adapter.rope.bands": bands}
            return networks.denoise(weights, dit_config, video, audio, features, is_token)

    compiled = torch.compile(velocities)

    def noisy(clean, sigma):
        noises = [torch.randn(x.shape, device=options.device, generator=generator) for x in clean]
        return [x.lerp(noise, like(sigma, x)) for x, noise in zip(clean, noises)]

    source = batches(options, run.step * options.batch)
    while not run.is_done():
        video, audio, ids, is_token = next(source)
        clean = [video, audio]
        step = steps_of(options.batch, levels)
        sigma = sigmas(step, options.device)
        noised = noisy(clean, sigma)
        if options.own:
            own = slice(0, options.own)
            # What the step before would have made of the same clip.
            step = step[own].clamp(min=1)
            before, sigma[own] = sigmas(step - 1, options.device), sigmas(step, options.device)
            begun = noisy([x[own] for x in clean], before)
            with torch.no_grad():
                guess = velocities(groups, *begun, ids[own], is_token[own])
            clean_guess = [x - v.float() * like(before, x) for x, v in zip(begun, guess)]
            for x, again in zip(noised, noisy(clean_guess, sigma[own])):
                x[own] = again
        made = compiled(groups, *noised, ids, is_token)
        wanted = [(x - real) / like(sigma, x) for x, real in zip(noised, clean)]
        video_loss = (made[0].float() - wanted[0])[:, :VIDEO].square().mean()
        audio_loss = (made[1].float() - wanted[1])[..., :AUDIO].square().mean()
        run.update(video_loss + 0.5 * audio_loss, f"video {video_loss.item():.4f} audio {audio_loss.item():.4f}")
    run.save(video_loss=round(video_loss.item(), 4), audio_loss=round(audio_loss.item(), 4))


if __name__ == "__main__":
    main()
