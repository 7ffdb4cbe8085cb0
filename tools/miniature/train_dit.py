"""Trains text encoder and denoising network together by flow matching: the velocity from clean latents to noise.
python tools/miniature/train_dit.py"""

from pathlib import Path

import torch

import networks
from common import Run, arguments

SHIFT = 5.0


def sigmas(count, device, generator):
    """Noise levels spread as the sampler's steps are: evenly, then shifted towards noise."""
    level = 0.999 * torch.rand(count, device=device, generator=generator)
    return SHIFT * level / (1 + (SHIFT - 1) * level)


def padded(ids, device):
    """Ids [B, T] and where they are."""
    longest = max(max(map(len, ids)), 2)
    rows = torch.zeros(len(ids), longest, dtype=torch.long)
    is_token = torch.zeros(len(ids), longest, dtype=torch.bool)
    for row, one in enumerate(ids):
        rows[row, : len(one)] = torch.tensor(one)
        is_token[row, : len(one)] = True
    return rows.to(device), is_token.to(device)


def main():
    options = arguments(__doc__, steps=20000, batch=256, rate=1e-3)
    torch.manual_seed(options.seed)
    text, text_config = networks.load(options.model, "text")
    dit, dit_config = networks.load(options.model, "dit")
    # Residual branches begin closed, so that the first steps are those of a shallow network.
    for name, tensor in dit.items():
        if name.endswith(("linear_proj.weight", "down_proj.weight")) or name.startswith("final_linear"):
            tensor.zero_()
    bands = dit["adapter.rope.bands"].to(options.device)
    groups = {
        "text": {k: v.to(options.device) for k, v in text.items()},
        "dit": {k: v.to(options.device) for k, v in dit.items() if k != "adapter.rope.bands"},
    }
    run = Run("dit", options, groups)
    latents = torch.load(Path(options.work) / "latents.pt")
    videos, audios = (latents[name].to(options.device) for name in ("video", "audio"))
    generator = torch.Generator(options.device).manual_seed(options.seed + run.step)
    half = torch.autocast(options.device.split(":")[0], torch.bfloat16, enabled=options.device != "cpu")
    while not run.is_done():
        rows = torch.randint(len(videos), (options.batch,), device=options.device, generator=generator)
        video, audio = videos[rows].float(), audios[rows].float()
        spoken = torch.randint(7, (options.batch,)).tolist()
        ids, is_token = padded([latents["ids"][i][k] for i, k in zip(rows.tolist(), spoken)], options.device)
        sigma = sigmas(options.batch, options.device, generator)[:, None, None]
        noises = [torch.randn(x.shape, device=options.device, generator=generator) for x in (video, audio)]
        noisy_video = video.lerp(noises[0], sigma[..., None, None])
        noisy_audio = audio.lerp(noises[1], sigma)
        with half:
            features = networks.encode_text(groups["text"], text_config, ids, is_token)
            weights = {**groups["dit"], "adapter.rope.bands": bands}
            made = networks.denoise(weights, dit_config, noisy_video, noisy_audio, features, is_token)
        video_loss = (made[0].float() - (noises[0] - video)).square().mean()
        audio_loss = (made[1].float() - (noises[1] - audio)).square().mean()
        run.update(video_loss + audio_loss)
    run.save(video_loss=round(video_loss.item(), 4), audio_loss=round(audio_loss.item(), 4))


if __name__ == "__main__":
    main()
