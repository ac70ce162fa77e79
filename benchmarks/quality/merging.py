# SPDX-License-Identifier: Apache-2.0
"""merging.py --bin FOLDER --model FILE --text FILE --out FOLDER [--resume] [--energy FILE.svg]

Merges the KV heads of a real model in many ways, and writes what is left of it as a table, merging.md. merging.sh calls
it. The text's first 60 % are calibrated on; measured are 4 windows of 512 tokens spread over the rest. With --energy, and
matplotlib, the premise is drawn as well.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import time

# Models: KV heads, what quality_expand_heads is told, and what the table calls it.
PLAIN = (3, None, "3")
COPIES = (9, [9], "9")
DEALT = (9, [9, 0, 3], "9, dealt out")
NOISY = (9, [9, 0.1], "9, with noise")

# Model, KV heads after, and what merge-heads is told. Without a refit the statistics are soon known.
NONE = ["--refit", "none", "--windows", "3"]
TWO = ["--refit", "none", "--windows", "2"]
MEAN = ["--keys", "mean", "--values", "mean", *TWO]
SVD = ["--values", "svd", *NONE]
SIX = ["--windows", "6"]
VARIANTS = [
    (PLAIN, 1, MEAN),
    (PLAIN, 1, ["--keys", "kq-svd", "--values", "svd-weights", *NONE]),
    (PLAIN, 1, ["--keys", "kq-svd", *SVD]),
    (PLAIN, 1, ["--keys", "kq-svd", *NONE]),
    (PLAIN, 1, ["--keys", "post-rope", *SVD]),
    (PLAIN, 1, ["--keys", "commuting", *SVD]),
    (PLAIN, 1, ["--keys", "commuting-query", *NONE]),
    (PLAIN, 1, ["--steps", "0", *TWO]),
    (PLAIN, 1, TWO),
    (PLAIN, 1, ["--keys", "kq-svd", "--ridge", "0", *SIX]),
    (PLAIN, 1, ["--keys", "kq-svd", *SIX]),
    (PLAIN, 1, ["--keys", "commuting-query", "--ridge", "0", *SIX]),
    (PLAIN, 1, ["--ridge", "0", *SIX]),
    (PLAIN, 1, ["--refit", "output", *SIX]),
    (PLAIN, 1, SIX),
    (PLAIN, 1, []),
    (COPIES, 3, ["--keys", "commuting-query", "--type", "f32", *NONE]),
    (COPIES, 3, ["--type", "f32", *TWO]),
    (COPIES, 1, TWO),
    (DEALT, 3, ["--keys", "layer-wide", "--values", "svd", *TWO]),
    (DEALT, 3, ["--keys", "post-rope", "--values", "svd", *TWO]),
    (DEALT, 3, TWO),
    (DEALT, 3, ["--groups", "similar", "--type", "f32", *TWO]),
    (NOISY, 3, MEAN),
    (NOISY, 3, ["--keys", "layer-wide", "--values", "svd", *TWO]),
    (NOISY, 3, ["--keys", "post-rope", "--values", "svd", *TWO]),
    (NOISY, 3, ["--keys", "commuting", "--values", "svd", *TWO]),
    (NOISY, 3, TWO),
    (NOISY, 3, SIX),
]


def answer(command):
    return json.loads(subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout)


class Lab:
    def __init__(self, asked):
        self.asked, self.out = asked, asked.out
        self.out.mkdir(parents=True, exist_ok=True)
        text = asked.text.read_text()
        cut = text.rindex("\n\n", 0, len(text) * 6 // 10)
        self.calibration, self.test = self.out / "calibration.txt", self.out / "test.txt"
        self.calibration.write_text(text[:cut])
        self.test.write_text(text[cut + 2 :])

    def source(self, model):
        kv_heads, how, name = model
        if how is None:
            return self.asked.model
        expanded = self.out / f"{name.replace(', ', '-').replace(' ', '-')}.gguf"
        if not expanded.exists():
            command = [self.asked.bin / "quality_expand_heads", self.asked.model, expanded, *how]
            subprocess.run([str(c) for c in command], check=True)
        return expanded

    def cell(self, model, after, options):
        """What merge-heads said, and the merged model compared with the one it was made from."""
        source = self.source(model)
        name = re.sub(r"\W+", "_", f"{model[2]} to {after} {' '.join(options)}").strip("_")
        file = self.out / f"{name}.json"
        if self.asked.resume and file.exists():
            return json.loads(file.read_text())
        print(name, file=sys.stderr, flush=True)
        merged = self.out / "merged.gguf"
        command = [self.asked.bin / "tightkv", "merge-heads", source, merged]
        command += ["--calibrate", self.calibration, "--kv-heads", after, "--threads", 2, "--json", *options]
        start = time.monotonic()
        said = answer(command)
        compared = answer([self.asked.bin / "quality_compare_models", source, self.test, 4, 512, merged])
        merged.unlink()
        cell = {"merge": said, "original": compared[0], "merged": compared[1], "seconds": time.monotonic() - start}
        file.write_text(json.dumps(cell, indent=1) + "\n")
        return cell


def refit(merge):
    """What of, and by which ridge."""
    if merge["refit"] == "none":
        return "none"
    return merge["refit"] + (f", {merge['ridge']}" if merge["ridge"] > 0 else ", held out")


def table(lab):
    lines = [
        "| KV heads | keys | values | any engine | refit of W_O, ridge | calibration tokens | NLL | KL |",
        "| --- | --- | --- | --- | --- | ---: | ---: | ---: |",
    ]
    seen = set()
    for model, after, options in VARIANTS:
        c = lab.cell(model, after, options)
        m, r = c["merge"], c["merged"]
        if model[2] not in seen:
            seen.add(model[2])
            lines.append(f"| {model[2]} | as they are | | yes | | | {c['original']['nll']:.3f} | 0 |")
        kl = f"{r['kl']:.3f}" if r["kl"] > 1e-3 else f"{r['kl']:.0e}"
        keys = m["keys"] + (", 0 steps" if "--steps" in options else "")
        keys += ", similar heads" if m["groups"] == "similar" else ""
        lines.append(
            f"| {model[2]} → {after} | {keys} | {m['values']} | {'yes' if m['other_engines'] else 'no'} | {refit(m)} |"
            f" {m['calibration_tokens']} | {r['nll']:.3f} | {kl} |"
        )
    return "\n".join(lines) + "\n"


def draw(layers, path):
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "tightkv"}
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True)
    for axis, part in zip(axes, ("quarter", "half")):
        for name, label, colour in (
            ("keys_before_rope", "keys before RoPE", "#0072b2"),
            ("keys_after_rope", "keys after RoPE", "#56b4e9"),
            ("values", "values", "#d55e00"),
        ):
            axis.plot([layer[name][part] for layer in layers], label=label, color=colour, marker=".")
        axis.set(xlabel="layer", title=f"leading {part} of the directions", ylim=(0.8, 1.005))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("share of energy")
    axes[1].legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser()
    for name in ("bin", "model", "text", "out"):
        parser.add_argument("--" + name, type=pathlib.Path, required=True)
    parser.add_argument("--resume", action="store_true", help="use what an earlier run has measured")
    parser.add_argument("--energy", type=pathlib.Path, help="draw the share of energy in the leading directions")
    asked = parser.parse_args()
    lab = Lab(asked)
    if asked.energy:
        layers = answer([asked.bin / "quality_head_energy", asked.model, lab.calibration, 1024])
        (asked.out / "energy.json").write_text(json.dumps(layers) + "\n")
        draw(layers, asked.energy)
    markdown = table(lab)
    (asked.out / "merging.md").write_text(markdown)
    print(markdown)


if __name__ == "__main__":
    main()
