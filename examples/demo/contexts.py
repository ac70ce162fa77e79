# SPDX-License-Identifier: Apache-2.0
"""contexts.py MODEL TEXT FOLDER: writes what the model is to read, and what is asked of it afterwards.

Into FOLDER go NAME.context.txt and NAME.continuation.txt for each NAME, and contexts.json, which says where things are.
* passkey-1, passkey-2: prose in which one sentence states a long number twice, at a quarter and at three quarters of
  the way. The continuation asks for it and then spells it: a digit is read back if it is the model's first choice.
* text: prose, and how it goes on.
Each context has exactly TOKENS tokens, so that a budget is the same number of rows in all of them. Prints a line for
each: its name and how many of the continuation's tokens are to be scored, counted from the end.
"""

import itertools
import json
import pathlib
import random
import re
import sys

from tokenizer import Tokenizer

TOKENS = 1480  # half and a quarter of it are counts that LagKV can reach with its own defaults (budgets.py)
DIGITS = 48
CONTINUATION = 128
DEPTHS = {"passkey-1": 0.25, "passkey-2": 0.75}
QUESTION = "\n\nWhat is the pass key? The pass key is "


def prose(text):
    """The paragraphs that are plain sentences, each on one line; headings, lists, tables and code are left out."""
    blocks = (re.sub(r"\s+", " ", block).strip() for block in text.split("\n\n") if not block.startswith(" "))
    whole = (block for block in blocks if len(block) > 200 and block[0].isupper() and block.endswith("."))
    return [block for block in whole if len(re.findall(r'["“*_]', block)) <= 4]


def ends_sentence(word):
    return word.endswith(".")


class Author:
    """Cuts contexts out of a text, at seams between words."""

    def __init__(self, tokenizer, paragraphs):
        self.tokenizer = tokenizer
        self.paragraphs = [tokenizer.words(p) + [("\n", 1)] * 2 for p in paragraphs]

    def from_paragraph(self, first):
        return itertools.chain.from_iterable(self.paragraphs[first:])

    def starts(self, seed):
        """Paragraphs to begin with, in random order: the first that gives the right length is taken."""
        order = list(range(len(self.paragraphs)))
        random.Random(seed).shuffle(order)
        return order

    def passkey(self, depth, seed):
        """(context, digits, the tokens [first, last) of the digits in both statements)."""
        digits = "".join(random.Random(seed).choices("0123456789", k=DIGITS))
        parts = [" The pass key is ", digits, ". Remember it. ", digits, " is the pass key."]
        sizes = [self.tokenizer.count(part) for part in parts]
        for start in self.starts(seed):
            words, done, stated = [], 0, None
            for word, tokens in self.from_paragraph(start):
                if stated is None and word[0] == " " and words and ends_sentence(words[-1]):
                    if done >= depth * (TOKENS - sum(sizes)):
                        edges = [done + sum(sizes[:i]) for i in range(6)]
                        stated = [edges[1:3], edges[3:5]]
                        words += parts
                        done += sum(sizes)
                words.append(word)
                done += tokens
                if done >= TOKENS:
                    break
            if stated and done == TOKENS and ends_sentence(words[-1]):
                return "".join(words), digits, stated
        raise SystemExit("the text is too short for a context of this length")

    def text(self, seed):
        """(context, how it goes on)."""
        for start in self.starts(seed):
            words = self.from_paragraph(start)
            ends = [0, *itertools.accumulate(tokens for _, tokens in self.from_paragraph(start))]
            if {TOKENS, TOKENS + CONTINUATION} <= set(ends):
                words = [word for word, _ in words]
                middle, end = ends.index(TOKENS), ends.index(TOKENS + CONTINUATION)
                if ends_sentence(words[middle - 1]):
                    return "".join(words[:middle]), "".join(words[middle:end])
        raise SystemExit("the text is too short for a context of this length")


def main(model, text, folder):
    author = Author(Tokenizer(model), prose(pathlib.Path(text).read_text()))
    folder = pathlib.Path(folder)
    contexts = []

    def write(name, context, continuation, score_last, **more):
        (folder / f"{name}.context.txt").write_text(context)
        (folder / f"{name}.continuation.txt").write_text(continuation)
        contexts.append({"name": name, "tokens": TOKENS, "score_last": score_last} | more)
        print(name, score_last)

    for seed, (name, depth) in enumerate(DEPTHS.items(), 1):
        context, digits, stated = author.passkey(depth, seed)
        write(name, context, QUESTION + digits, DIGITS, key_tokens=stated)
    context, continuation = author.text(seed=0)
    write("text", context, continuation, CONTINUATION - 1)  # the first is predicted before anything is compressed
    (folder / "contexts.json").write_text(json.dumps(contexts, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
