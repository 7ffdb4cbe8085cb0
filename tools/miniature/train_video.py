"""Trains the video decoder together with an encoder that is only needed to train: frames to latents of mean 0 and
deviation 1 and back. python tools/miniature/train_video.py"""

import torch
import torch.nn.functional as F

import networks
from common import Clips, Run, Whiten, arguments

WIDTHS = [24, 48, 96, 128]


def new_encoder(device, seed):
    """3x3x3 convolutions; space is halved by the patches and three of them, time by the last two."""
    generator = torch.Generator().manual_seed(seed)
    channels = [12, *WIDTHS, WIDTHS[-1], networks.CHANNELS]
    weights = {}
    for index, (before, behind) in enumerate(zip(channels, channels[1:])):
        scale = (2 / (before * 27)) ** 0.5
        weights[f"{index}.weight"] = (torch.randn(behind, before, 3, 3, 3, generator=generator) * scale).to(device)
        weights[f"{index}.bias"] = torch.zeros(behind, device=device)
    return weights


def encode(w, whiten, frames, is_training=False):
    """Latents [B, 48, (T + 3) / 4, H / 16, W / 16] of frames [B, 3, T, H, W]."""
    b, c, t, h, v = frames.shape
    x = torch.cat([frames[:, :, :1].expand(-1, -1, 3, -1, -1), frames], 2)
    x = x.view(b, c, t + 3, h // 2, 2, v // 2, 2).permute(0, 1, 4, 6, 2, 3, 5).reshape(b, 4 * c, t + 3, h // 2, v // 2)
    strides = [(1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2), (1, 1, 1), (1, 1, 1)]
    for index, stride in enumerate(strides):
        if index:
            x = F.silu(networks.channel_norm(x, 1e-6))
        x = F.conv3d(x, w[f"{index}.weight"], w[f"{index}.bias"], stride=stride, padding=1)
    return whiten(x.permute(0, 2, 3, 4, 1), is_training).permute(0, 4, 1, 2, 3)


def loss_of(made, real):
    """Absolute error, more where the subject is, and of the differences between neighbours, which keep edges sharp."""
    ground = real.flatten(2).median(2).values[:, :, None, None, None]
    weight = 1 + 4 * ((real - ground).abs().amax(1, keepdim=True) > 0.25).float()
    loss = ((made - real).abs() * weight).sum() / weight.sum() / 3
    for axis in (2, 3, 4):
        loss = loss + 0.3 * (made.diff(dim=axis) - real.diff(dim=axis)).abs().mean()
    return loss


def main():
    options = arguments(__doc__, steps=20000, batch=8, rate=2e-3, frames=(49, "frames of a clip, 4 k + 1"))
    torch.manual_seed(options.seed)
    weights, config = networks.load(options.model, "video")
    decoder = {k: v.to(options.device) for k, v in weights.items()}
    encoder = new_encoder(options.device, options.seed)
    whiten = Whiten(networks.CHANNELS, options.device)
    run = Run("video", options, {"decoder": decoder, "encoder": encoder}, whiten.buffers())
    clips = Clips(options, options.frames, first=run.step * options.batch)
    while not run.is_done():
        real, _, _ = clips.next()
        latents = encode(encoder, whiten, real, is_training=True)
        # What the denoising network gives is never exact.
        made = networks.decode_video(decoder, config, latents + 0.1 * torch.randn_like(latents))
        run.update(loss_of(made, real))
    with torch.no_grad():
        real, _, _ = clips.next()
        made = networks.decode_video(run.average["decoder"], config, encode(run.average["encoder"], whiten, real))
        error = (made.clamp(-1, 1) - real).square().mean()
    run.save(psnr=round(float(-10 * torch.log10(error / 4)), 2))


if __name__ == "__main__":
    main()
