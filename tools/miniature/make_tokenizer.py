"""Makes the miniature's tokenizer from the words of the world: the published one's structure, merges of these words.
python tools/miniature/make_tokenizer.py --to src/pipeline/miniature/tokenizer.json"""

import argparse
import json
import subprocess
from collections import Counter
from pathlib import Path

SIZE = 3000
SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>"]


def words_of(phrases):
    """Words as pieces see them: behind a space U+2581 in front, and as they are where a prompt begins with them."""
    words = Counter()
    for phrase in phrases:
        for index, word in enumerate(phrase.split(" ")):
            word = word.strip(".,;:、。")
            for form in {word, word.capitalize()} if word else ():
                words["\u2581" + form] += 1
                words[form] += 1 if index == 0 else 0
    return words


def merges_of(words, count):
    """Byte-pair encoding: the pair that occurs most often becomes a piece, again and again."""
    split = {word: list(word) for word in words}
    merges = []
    while len(merges) < count:
        pairs = Counter()
        for word, pieces in split.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += words[word]
        if not pairs:
            break
        first, second = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append([first, second])
        for pieces in split.values():
            at = 0
            while at + 1 < len(pieces):
                if pieces[at] == first and pieces[at + 1] == second:
                    pieces[at : at + 2] = [first + second]
                at += 1
    return merges, split


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", default="target/world/release/world", help="the program of tools/miniature/world")
    parser.add_argument("--to", default="src/pipeline/miniature/tokenizer.json", help="file to write")
    options = parser.parse_args()
    phrases = subprocess.run([options.world, "words"], capture_output=True, text=True, check=True).stdout.splitlines()
    words = words_of(phrases)
    signs = set(" .,;:\u3001\u3002\uff0c'!?-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") - {" "}
    letters = sorted(set("".join(words)) | signs | {"\u2581"})
    pieces = SPECIAL + [f"<0x{byte:02X}>" for byte in range(256)] + letters
    merges, split = merges_of(words, 10**6)
    # Pairs of different words may make the same piece.
    room = SIZE - len(pieces)
    kept, made = [], []
    for first, second in merges:
        if first + second not in made:
            if len(made) == room:
                break
            made.append(first + second)
        kept.append([first, second])
    pieces += made
    pieces += [f"<unused{index}>" for index in range(SIZE - len(pieces))]

    def added(index):
        names = ["id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"]
        return dict(zip(names, [index, SPECIAL[index], False, False, False, False, True]))

    def template(*ids):
        parts = []
        for index, name in enumerate(ids):
            parts += [{"SpecialToken": {"id": "<bos>", "type_id": index}}, {"Sequence": {"id": name, "type_id": index}}]
        return parts

    bos = {"id": "<bos>", "ids": [SPECIAL.index("<bos>")], "tokens": ["<bos>"]}
    space = {"String": " "}
    model = {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None}
    model |= {"end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False}
    model |= {"vocab": {piece: index for index, piece in enumerate(pieces)}, "merges": kept}
    replace = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
    text = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added(index) for index in range(len(SPECIAL))],
        "normalizer": {"type": "Replace", "pattern": space, "content": "\u2581"},
        "pre_tokenizer": {"type": "Split", "pattern": space, "behavior": "MergedWithPrevious", "invert": False},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": template("A"),
            "pair": template("A", "B"),
            "special_tokens": {"<bos>": bos},
        },
        "decoder": {"type": "Sequence", "decoders": [replace, {"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": model,
    }
    target = Path(options.to)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(text, ensure_ascii=False, separators=(",", ":")) + "\n")
    whole = sum(len(pieces) == 1 for pieces in split.values())
    print(f"{target}: {len(letters)} letters, {len(made)} of {len(merges)} merges; {whole} of {len(split)} words whole")


if __name__ == "__main__":
    main()
