"""Writes the trained weights into a model folder of the published layout, in its types.
python tools/miniature/export.py --to out/miniature/trained"""

import shutil
from pathlib import Path

import torch

import checkpoint
from common import arguments
from make_latents import trained


def fold_whitening(encoder, whiten):
    """The last convolution of the audio encoder gives whitened means: w x + b becomes (w x + b - mean) / deviation."""
    at = "pretransform.model.encoder.layers.7"
    scale = torch.rsqrt(whiten.variance + 1e-5)
    count = len(scale)
    encoder[at + ".weight_g"][:count] *= scale[:, None, None]
    encoder[at + ".bias"][:count] = (encoder[at + ".bias"][:count] - whiten.mean) * scale
    # Nothing was learned of the spread around the means: make it as small as it can be.
    encoder[at + ".weight_g"][count:] *= 1e-3
    encoder[at + ".bias"][count:] = -8.0


def main():
    options = arguments(__doc__, steps=0, batch=0, rate=0.0, to=("out/miniature/trained", "folder to write"))
    target = Path(options.to)
    shutil.copytree(options.model, target, dirs_exist_ok=True)
    video, _ = trained(options, "video")
    audio, whiten = trained(options, "audio")
    fold_whitening(audio["encoder"], whiten)
    dit = torch.load(Path(options.work) / "dit.pt", map_location="cpu")["average"]
    groups = {
        "distill/model.safetensors": dit["dit"],
        "t5gemma-9b-9b-ul2/model.safetensors": dit["text"],
        "turbo_vae/model.safetensors": video["decoder"],
        "stable-audio-open-1.0/model.safetensors": {**audio["encoder"], **audio["decoder"]},
    }
    for file, weights in groups.items():
        stored = checkpoint.read(target / file)
        checkpoint.write(target / file, {k: weights[k].to(v.dtype) if k in weights else v for k, v in stored.items()})
        print(target / file)


if __name__ == "__main__":
    main()
