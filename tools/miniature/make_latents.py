"""Encodes clips of the world with the trained encoders, for the denoising network to learn from.
python tools/miniature/make_latents.py"""

import multiprocessing
import time
from pathlib import Path

import torch

import networks
import train_audio
import train_video
from common import LANGUAGES, Clips, Whiten, arguments
from tokens import Tokenizer

FRAMES = 49


def trained(options, name):
    """Averaged weights and whitening of a finished run."""
    state = torch.load(Path(options.work) / f"{name}.pt", map_location=options.device)
    whiten = Whiten(0, options.device)
    whiten.mean, whiten.variance = state["buffers"]["mean"], state["buffers"]["variance"]
    return state["average"], whiten


def main():
    options = arguments(__doc__, steps=0, batch=64, rate=0.0, count=(60000, "clips"))
    (video, video_whiten), (audio, audio_whiten) = trained(options, "video"), trained(options, "audio")
    tokenizer = Tokenizer(Path(options.model) / "t5gemma-9b-9b-ul2/tokenizer.json")
    # Other clips than the encoders saw.
    clips = Clips(options, FRAMES, first=10**7, processes=max(2, multiprocessing.cpu_count() - 2))
    videos, audios, prompts = [], [], []
    start = time.monotonic()
    with torch.no_grad(), multiprocessing.Pool() as pool:
        while sum(map(len, videos)) < options.count and time.monotonic() - start < options.minutes * 60:
            frames, samples, texts = clips.next()
            videos.append(train_video.encode(video["encoder"], video_whiten, frames).half().cpu())
            audios.append(train_audio.encode(audio["encoder"], audio_whiten, samples).half().cpu())
            prompts.append(pool.map_async(tokenizer.ids, [text for clip in texts for text in clip], chunksize=32))
        ids = [one for batch in prompts for one in batch.get()]
    ids = [ids[i : i + len(LANGUAGES)] for i in range(0, len(ids), len(LANGUAGES))]
    latents = {"video": torch.cat(videos), "audio": torch.cat(audios), "ids": ids}
    torch.save(latents, Path(options.work) / "latents.pt")
    print(f"{len(ids)} clips in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
