# SPDX-License-Identifier: Apache-2.0
"""Where SmolLM's tokens begin and end: the byte-level BPE of a GGUF file, in a few lines.

The engine has the real one (examples/engine/tokenizer.hpp); this one is here so that a script can cut a text to an
exact number of tokens before it runs the command.
"""

import functools
import mmap
import re
import struct

# Every digit apart, then GPT-2's pattern.
WORD = re.compile(r"\d|'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?(?:[^\s\w]|_)+|\s+(?![^\s\d])|\s")

NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


class Reader:
    """Reads the metadata of a GGUF file from front to back."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, code):
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def string(self):
        size = self.number("Q")
        self.at += size
        return self.data[self.at - size : self.at].decode(errors="replace")

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            element, size = self.number("I"), self.number("Q")
            return [self.value(element) for _ in range(size)]
        return self.number(NUMBERS[kind])

    def metadata(self):
        if self.data[:4] != b"GGUF":
            raise SystemExit("not a GGUF file")
        self.at = 16  # magic, version, number of tensors
        return {self.string(): self.value(self.number("I")) for _ in range(self.number("Q"))}


def letters_for_bytes():
    """GPT-2's printable letter for each byte."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(others)}


class Tokenizer:
    def __init__(self, model):
        with open(model, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            merges = Reader(data).metadata()["tokenizer.ggml.merges"]
        self.rank = {tuple(pair.split(" ")): i for i, pair in enumerate(merges)}
        self.letters = letters_for_bytes()
        self.tokens_in = functools.cache(self.tokens_in)

    def tokens_in(self, word):
        """The number of tokens of one word."""
        parts = [self.letters[b] for b in word.encode()]
        while len(parts) > 1:
            pairs = list(zip(parts, parts[1:]))
            best = min(pairs, key=lambda pair: self.rank.get(pair, len(self.rank)))
            if best not in self.rank:
                break
            at = pairs.index(best)
            parts[at : at + 2] = ["".join(best)]
        return len(parts)

    def words(self, text):
        """(word, its number of tokens), in order; the words together are the text."""
        return [(word, self.tokens_in(word)) for word in WORD.findall(text)]

    def count(self, text):
        return sum(tokens for _, tokens in self.words(text))
