"""Trains the audio decoder to play samples from the world's latents. python tools/miniature/train_audio.py"""

import torch

import networks
from common import HOP, Run, arguments, clips, padded, start

WINDOWS = [256, 1024, 4096]
# Latents of a cut, and those on either side whose samples lack their neighbours and do not count, unless the clip begins
# there.
CUT, EDGE = 10, 1


def spectra(samples, window):
    shape = torch.hann_window(window, device=samples.device)
    return torch.stft(samples.flatten(0, 1), window, window // 4, window=shape, return_complex=True).abs()


def loss_of(made, real):
    """Absolute error of the samples, and of spectra at three resolutions, in each clip by its own loudness, so that
    silence stays silent."""
    loss = 10 * (made - real).abs().mean()
    for window in WINDOWS:
        a, b = spectra(made, window).flatten(1), spectra(real, window).flatten(1)
        size = b.norm(dim=1)
        loss = loss + 0.3 * ((a - b).norm(dim=1) / size.clamp(min=0.05 * size.mean())).mean()
    return loss


def main():
    more = {"blur": (0.15, "noise on the latents: what the denoising network gives is never exact")}
    options = arguments(__doc__, steps=5000, batch=16, rate=3e-3, **more)
    options.side = 32
    torch.manual_seed(options.seed)
    weights, _ = start(options, "audio", options.seed)
    decoder = {k: v.to(options.device) for k, v in weights.items() if ".decoder." in k}
    run = Run("audio", options, {"player": decoder})
    source = clips(options, "as", 2 * 10**7 + run.step * options.batch)
    compiled = torch.compile(networks.decode_audio)

    def taken(clip, count, is_first):
        """Latents [count, AUDIO] of a clip's beginning or from anywhere in it, and their samples."""
        at = 0 if is_first else int(torch.randint(0, len(clip["a"]) - count + 1, ()))
        samples = clip["s"][at * HOP : (at + count) * HOP]
        return torch.from_numpy(clip["a"][at : at + count]), torch.from_numpy(samples)

    def batch(count, is_first):
        cuts = [taken(next(source), count, is_first) for _ in range(options.batch)]
        latents, samples = (torch.stack(part).to(options.device) for part in zip(*cuts))
        return padded(latents, 64, 2), samples.transpose(1, 2).contiguous()

    while not run.is_done():
        is_first = run.step % 4 == 0
        inner = slice(0 if is_first else EDGE * HOP, -EDGE * HOP)
        latents, real = batch(CUT, is_first)
        strength = options.blur * torch.rand(options.batch, 1, 1, device=latents.device)
        latents = latents + strength * torch.randn_like(latents)
        made = compiled(run.groups["player"], latents)
        run.update(loss_of(made[:, :, inner], real[:, :, inner]))
    with torch.no_grad():
        latents, real = batch(51, True)
        made = networks.decode_audio(run.average["player"], latents)
        ratio = real.square().sum() / (made - real).square().sum()
    run.save(snr=round(float(10 * torch.log10(ratio)), 2))


if __name__ == "__main__":
    main()
