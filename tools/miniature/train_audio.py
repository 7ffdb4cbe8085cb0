"""Trains both halves of the audio autoencoder: samples to latents of mean 0 and deviation 1 and back.
python tools/miniature/train_audio.py"""

import torch

import networks
from common import HOP, Clips, Run, Whiten, arguments

WINDOWS = [256, 1024, 4096]


def encode(w, whiten, samples, is_training=False):
    """Latents [B, A, 64]; the bottleneck's own noise is left out."""
    return whiten(networks.encode_audio(w, samples)[0], is_training)


def spectra(samples, window):
    shape = torch.hann_window(window, device=samples.device)
    return torch.stft(samples.flatten(0, 1), window, window // 4, window=shape, return_complex=True).abs()


def loss_of(made, real):
    """Absolute error of the samples, and of spectra at three resolutions, plain and as logarithms."""
    loss = 10 * (made - real).abs().mean()
    for window in WINDOWS:
        a, b = spectra(made, window), spectra(real, window)
        loss = loss + (a - b).norm() / b.norm().clamp(min=1.0)
        loss = loss + 0.2 * ((a + 0.01).log() - (b + 0.01).log()).abs().mean()
    return loss


def main():
    options = arguments(__doc__, steps=20000, batch=16, rate=2e-3, hops=(13, "latents of a cut, of 51"))
    options.side = 32
    torch.manual_seed(options.seed)
    weights, _ = networks.load(options.model, "audio")
    weights = {k: v.to(options.device) for k, v in weights.items()}
    groups = {half: {k: v for k, v in weights.items() if f".{half}." in k} for half in ("decoder", "encoder")}
    whiten = Whiten(64, options.device)
    run = Run("audio", options, groups, whiten.buffers())
    clips = Clips(options, 49, first=run.step * options.batch)
    while not run.is_done():
        _, real, _ = clips.next()
        start = int(torch.randint(0, real.shape[2] // HOP - options.hops + 1, ()))
        real = real[:, :, start * HOP : (start + options.hops) * HOP]
        latents = encode(groups["encoder"], whiten, real, is_training=True)
        made = networks.decode_audio(groups["decoder"], latents + 0.1 * torch.randn_like(latents))
        run.update(loss_of(made, real))
    with torch.no_grad():
        _, real, _ = clips.next()
        made = networks.decode_audio(run.average["decoder"], encode(run.average["encoder"], whiten, real))
        ratio = real.square().sum() / (made - real).square().sum()
    run.save(snr=round(float(10 * torch.log10(ratio)), 2))


if __name__ == "__main__":
    main()
