# SPDX-License-Identifier: Apache-2.0
"""Makes the golden scores of tests/methods/kvpress.test.cpp with NVIDIA's kvpress, in float32.

    pip install torch transformers kvpress==0.5.5
    python make.py > scores.inc

Inputs are a hash that the test repeats, so that none need be stored. Queries reach the presses through an identity
projection and rotations by nothing.
"""

import types

import kvpress
import torch

HEADS, GROUP, TOKENS, DIM = 2, 3, 75, 24
SINK, LAG, WINDOW, KERNEL = 4, 16, 16, 5


def numbers(seed, *shape):
    x = torch.arange(torch.Size(shape).numel(), dtype=torch.int64) * 2654435761 + seed * 40503
    x &= 0xFFFFFFFF
    x = ((x ^ (x >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    x ^= x >> 16
    return (((x >> 20) - 2048).float() / 512).reshape(1, *shape)


keys = numbers(1, HEADS, TOKENS, DIM)
values = numbers(2, HEADS, TOKENS, DIM)
queries = numbers(3, HEADS * GROUP, TOKENS, DIM)


class Identity(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.config = types.SimpleNamespace(num_attention_heads=HEADS * GROUP, num_key_value_heads=HEADS)
        self.head_dim = DIM
        self.q_proj = torch.nn.Identity()


module = Identity()
hidden = queries.transpose(1, 2).reshape(1, TOKENS, HEADS * GROUP * DIM)
rotation = torch.ones(1, TOKENS, DIM), torch.zeros(1, TOKENS, DIM)
context = {"position_embeddings": rotation}


def show(kind, name, rows):
    print(f"constexpr {kind} {name}[{len(rows)}][{len(rows[0])}] = {{")
    for row in rows:
        text = [f"{x:.9g}F" if kind == "float" and any(c in f"{x:.9g}" for c in ".e") else f"{x:.9g}" for x in row]
        lines = ["    {"]
        for i, x in enumerate(text):
            piece = x + ("," if i + 1 < len(text) else "},")
            if len(lines[-1]) + len(piece) + 1 > 120:
                lines.append("     ")
            lines[-1] += piece if lines[-1].endswith("{") else " " + piece
        print("\n".join(line.replace("      ", "     ") for line in lines))
    print("};")


def scores(name, press, begin=0, end=TOKENS):
    show("float", name, press.score(module, hidden, keys, values, None, context)[0, :, begin:end].tolist())


def kept(name, press):
    rows = press.compress(module, hidden, keys, values, None, context)[0]
    same = (rows[0, :, :, None] == keys[0, :, None]).all(-1)  # rows are distinct: find where each came from
    assert (same.sum(-1) == 1).all()
    show("int", name, same.int().argmax(-1).sort(-1).values.tolist())


half = {"compression_ratio": 0.5}
with torch.no_grad():
    print("// Made by make.py with kvpress 0.5.5; not to be edited.")
    scores("knorm_scores", kvpress.KnormPress())
    kept("knorm_kept", kvpress.KnormPress(**half))
    scores("keydiff_scores", kvpress.KeyDiffPress())
    kept("keydiff_kept", kvpress.KeyDiffPress(**half))
    scores("snapkv_scores", kvpress.SnapKVPress(window_size=WINDOW, kernel_size=KERNEL), 0, TOKENS - WINDOW)
    kept("snapkv_kept", kvpress.SnapKVPress(window_size=WINDOW, kernel_size=KERNEL, **half))
    scores("tova_scores", kvpress.TOVAPress(), 0, TOKENS - 1)
    kept("tova_kept", kvpress.TOVAPress(**half))
    lag = {"n_sink": SINK, "lag_size": LAG}
    judged = SINK + ((TOKENS - SINK) // LAG - 1) * LAG
    scores("lagkv_softmax", kvpress.LagKVPress(cross_scoring=True, **lag), SINK, judged)
    scores("lagkv_ranks", kvpress.LagKVPress(**lag), SINK, judged)
    # 51 of 75: half of every judged partition, so that no tie is cut.
    kept("lagkv_kept", kvpress.LagKVPress(compression_ratio=0.31, **lag))
