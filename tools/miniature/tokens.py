"""Prompts to ids by a tokenizer.json: merges over the whole prompt, spaces as U+2581, bytes for what it lacks."""

import json
from pathlib import Path


class Tokenizer:
    def __init__(self, path):
        model = json.loads(Path(path).read_text())["model"]
        self.vocabulary = model["vocab"]
        merges = (merge if isinstance(merge, list) else merge.split(" ", 1) for merge in model["merges"])
        self.ranks = {tuple(pair): rank for rank, pair in enumerate(merges)}

    def ids(self, prompt):
        pieces = []
        for letter in prompt.replace(" ", "\u2581"):
            in_bytes = [f"<0x{byte:02X}>" for byte in letter.encode()]
            pieces += [letter] if letter in self.vocabulary else in_bytes
        while len(pieces) > 1:
            ranks = [self.ranks.get(pair, len(self.ranks)) for pair in zip(pieces, pieces[1:])]
            at = min(range(len(ranks)), key=ranks.__getitem__)
            if ranks[at] == len(self.ranks):
                break
            pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
        return [self.vocabulary[piece] for piece in pieces]
