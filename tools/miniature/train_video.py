"""Trains the video decoder to draw frames from the world's latents. python tools/miniature/train_video.py

With --own also from those that the denoising network makes of them, whose errors are not like noise."""

from pathlib import Path

import torch
import torch.nn.functional as F

import networks
from common import FRAMES, VIDEO, Run, arguments, clips, padded, start
from tokens import Tokenizer
from train_dit import STEPS, Sampler, rows_of

# Latents of a cut: the decoder is called with one more on either side than it draws.
CUT = 5


def loss_of(made, real):
    """Absolute and squared error, as much for the subject and what is around it as for all the rest, and the error of
    the differences between neighbours in time and space, which keep edges sharp."""
    ground = real.flatten(2).median(2).values[:, :, None, None, None]
    subject = ((real - ground).abs().amax(1, keepdim=True) > 0.25).float()
    subject = F.max_pool3d(subject, (1, 5, 5), stride=1, padding=(0, 2, 2))
    error = (made - real).abs()
    error = (error + 2 * error.square()).mean(1, keepdim=True)
    # Of each clip its own share, so that small subjects count like large ones.
    whole = (1, 2, 3, 4)
    shares = [(error * part).sum(whole) / part.sum(whole).clamp(min=1.0) for part in (subject, 1 - subject)]
    loss = (shares[0] + shares[1]).mean()
    for axis in (2, 3, 4):
        loss = loss + 3 * (made.diff(dim=axis) - real.diff(dim=axis)).abs().mean()
    return loss


def main():
    more = {
        "blur": (0.7, "noise on the latents: what the denoising network gives is never exact"),
        "own": (0, "how many clips of a batch have latents that the trained denoising network ended with"),
    }
    options = arguments(__doc__, steps=4700, batch=8, rate=2e-3, **more)
    torch.manual_seed(options.seed)
    weights, config = start(options, "video", options.seed)
    run = Run("video", options, {"decoder": {k: v.to(options.device) for k, v in weights.items()}})
    source = clips(options, "vafp" if options.own else "vf", 10**7 + run.step * options.batch)
    generator = torch.Generator(options.device).manual_seed(options.seed + run.step)
    sampler = Sampler(options) if options.own else None
    tokenizer = Tokenizer(Path(options.model) / "t5gemma-9b-9b-ul2/tokenizer.json")
    kind = options.device.split(":")[0]

    def draw(weights, latents, is_first):
        with torch.autocast(kind, torch.bfloat16):
            return networks.decode_chunk(weights, config, latents, is_first).float()

    def taken(clip, at):
        """Latents [1, 48, CUT, H, W] from number `at` on and the frames that they are of."""
        latents = torch.from_numpy(clip["v"][:, at : at + CUT])[None]
        # Frames of the first call begin with the clip; of the others with the second latent. The last latent's are cut.
        first, last = (0, 4 * (CUT - 1) - 3) if at == 0 else (4 * at + 1, 4 * (at + CUT - 1) - 3)
        return latents, torch.from_numpy(clip["f"][first:last])[None]

    def replaced(made):
        """Puts into clips the latents that one to three steps of the network end with."""
        sampler.refresh()
        video = padded(torch.stack([torch.from_numpy(clip["v"]) for clip in made]), networks.CHANNELS, 1)
        audio = padded(torch.stack([torch.from_numpy(clip["a"]) for clip in made]), 64, 2)
        spoken = torch.randint(7, (len(made),)).tolist()
        rows = rows_of([tokenizer.ids(clip["p"][index]) for clip, index in zip(made, spoken)], options.device)
        begun = [x.to(options.device) for x in (video, audio)]
        video, _ = sampler.finished(*begun, *rows, int(torch.randint(STEPS - 3, STEPS, ())), generator)
        return [{**clip, "v": one[:VIDEO].cpu().numpy()} for clip, one in zip(made, video)]

    compiled = torch.compile(draw)
    latents_of_clip = (FRAMES + 3) // 4
    while not run.is_done():
        at = 0 if run.step % 4 == 0 else int(torch.randint(1, latents_of_clip - CUT + 1, ()))
        drawn = [next(source) for _ in range(options.batch)]
        if options.own:
            drawn[: options.own] = replaced(drawn[: options.own])
        cuts = [taken(clip, at) for clip in drawn]
        latents = padded(torch.cat([cut[0] for cut in cuts]), networks.CHANNELS, 1).to(options.device)
        real = torch.cat([cut[1] for cut in cuts]).permute(0, 4, 1, 2, 3).to(options.device).float() / 127.5 - 1
        # Errors of its own for each number, and errors that a cell's numbers share.
        errors = 0.5 * torch.randn_like(latents) + 0.5 * torch.randn_like(latents[:, :1])
        strength = options.blur * torch.rand(options.batch, 1, 1, 1, 1, device=latents.device)
        # The network's own errors are enough.
        strength[: options.own] = 0
        latents = latents + strength * errors
        latents = latents.contiguous(memory_format=torch.channels_last_3d)
        made = compiled(run.groups["decoder"], latents, at == 0)
        made = made[:, :, :-4] if at == 0 else made[:, :, 4:-4]
        run.update(loss_of(made, real))
    with torch.no_grad():
        made_clips = [next(source) for _ in range(4)]
        latents = padded(torch.stack([torch.from_numpy(clip["v"]) for clip in made_clips]), networks.CHANNELS, 1)
        real = torch.stack([torch.from_numpy(clip["f"]) for clip in made_clips]).permute(0, 4, 1, 2, 3) / 127.5 - 1
        made = networks.decode_video(run.average["decoder"], config, latents.to(options.device)).cpu()
        error = (made.clamp(-1, 1) - real).square().mean()
    run.save(psnr=round(float(-10 * torch.log10(error / 4)), 2))


if __name__ == "__main__":
    main()
