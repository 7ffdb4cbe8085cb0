"""Writes the trained weights as files of the published layout, in its types, for the program to be built with, and
beside them a record of the training: steps, seconds, figures, and what rounding to those types costs.
python tools/miniature/export.py --to src/pipeline/miniature"""

import json
from pathlib import Path

import torch

import checkpoint
import networks
import train_dit
from common import AUDIO, VIDEO, arguments

FILES = {
    "text": ("t5gemma-9b-9b-ul2/model.safetensors", "text.safetensors"),
    "dit": ("distill/model.safetensors", "distill.safetensors"),
    "video": ("turbo_vae/model.safetensors", "turbo_vae.safetensors"),
    "audio": ("stable-audio-open-1.0/model.safetensors", "audio_vae.safetensors"),
}


def losses(options, text, dit):
    """Mean squared errors of the velocities of video and audio, on clips that no step has seen, at each noise level."""
    _, text_config = networks.load(options.model, "text")
    _, dit_config = networks.load(options.model, "dit")
    generator = torch.Generator().manual_seed(options.seed)
    video, audio, ids, is_token = next(train_dit.batches(options, 5 * 10**8))
    sigma = train_dit.sigmas(train_dit.steps_of(len(video), generator), "cpu")
    noises = [torch.randn(x.shape, generator=generator) for x in (video, audio)]
    noised = [x.lerp(noise, train_dit.like(sigma, x)) for x, noise in zip((video, audio), noises)]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        features = networks.encode_text(text, text_config, ids, is_token)
        made = networks.denoise(dit, dit_config, *noised, features, is_token)
    errors = [made[0] - (noises[0] - video), made[1] - (noises[1] - audio)]
    return [round(error.float().square().mean().item(), 4) for error in (errors[0][:, :VIDEO], errors[1][..., :AUDIO])]


def main():
    more = {
        "to": ("src/pipeline/miniature", "folder to write"),
        "history": ("", "what the record says of how the training went"),
    }
    options = arguments(__doc__, steps=0, batch=128, rate=0.0, **more)
    averages = {}
    for name in ("dit", "video", "audio"):
        averages |= torch.load(Path(options.work) / f"{name}.pt", map_location="cpu")["average"]
    weights = {"text": averages["text"], "dit": train_dit.used(averages["dit"])}
    weights |= {"video": averages["decoder"], "audio": averages["player"]}
    exact, stored_as = {}, {}
    for name, (start, file) in FILES.items():
        stored = checkpoint.read(Path(options.model) / start)
        # Of the audio autoencoder the encoder is left out; constants are as they were.
        kept = {k: v for k, v in stored.items() if name != "audio" or ".decoder." in k}
        target = Path(options.to) / file
        made = {k: weights[name].get(k, v) for k, v in kept.items()}
        rounded = {k: v.to(kept[k].dtype) for k, v in made.items()}
        checkpoint.write(target, rounded)
        print(f"{target}: {target.stat().st_size} bytes")
        exact[name], stored_as[name] = made, {k: v.float() for k, v in rounded.items()}
    record = {name: json.loads((Path(options.work) / f"{name}.json").read_text()) for name in ("video", "audio", "dit")}
    for key, kind in (("loss_as_trained", exact), ("loss_as_stored", stored_as)):
        record["dit"][key] = dict(zip(("video", "audio"), losses(options, kind["text"], kind["dit"])))
    record |= {"torch": torch.__version__, "history": options.history}
    (Path(options.to) / "record.json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record))


if __name__ == "__main__":
    main()
