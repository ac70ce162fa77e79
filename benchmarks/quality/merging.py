# SPDX-License-Identifier: Apache-2.0
"""merging.py --bin FOLDER --model FILE --text FILE --out FOLDER [--resume] [--energy FILE.svg]

Merges the KV heads of a real model in many ways, and writes what is left of it as a table, merging.md. merging.sh calls
it. The text's first 60 % are calibrated on; measured are 4 windows of 512 tokens spread over the rest. With --energy, and
matplotlib, the premise is drawn as well.
"""

import argparse
import json
import pathlib
import subprocess
import sys

# name, KV heads of the model, KV heads after, options of merge-heads. Without a refit the statistics are soon known.
NONE = ["--refit", "none", "--windows", "3"]
MEAN = ["--keys", "mean", "--values", "mean", "--refit", "none", "--windows", "2"]
OUTPUT = ["--refit", "output", "--windows", "6"]
RESIDUAL = ["--refit", "residual", "--windows", "6"]
VARIANTS = [
    ("mean", 3, 1, MEAN),
    ("kq-svd, mean", 3, 1, ["--keys", "kq-svd", "--values", "mean", *NONE]),
    ("kq-svd, svd-weights", 3, 1, ["--keys", "kq-svd", "--values", "svd-weights", *NONE]),
    ("kq-svd, svd", 3, 1, ["--keys", "kq-svd", "--values", "svd", *NONE]),
    ("kq-svd, output", 3, 1, ["--keys", "kq-svd", *NONE]),
    ("post-rope, svd", 3, 1, ["--keys", "post-rope", "--values", "svd", *NONE]),
    ("commuting, svd", 3, 1, ["--keys", "commuting", "--values", "svd", *NONE]),
    ("commuting-query, output", 3, 1, NONE),
    ("kq-svd, output", 3, 1, ["--keys", "kq-svd", *OUTPUT]),
    ("kq-svd, output", 3, 1, ["--keys", "kq-svd", *RESIDUAL]),
    ("commuting-query, output", 3, 1, OUTPUT),
    ("commuting-query, output", 3, 1, RESIDUAL),
    ("commuting-query, output", 3, 1, ["--refit", "residual", "--windows", "12"]),
    ("mean", 9, 3, MEAN),
    ("post-rope, svd", 9, 3, ["--keys", "post-rope", "--values", "svd", "--type", "f32", *NONE]),
    ("commuting-query, output", 9, 3, ["--type", "f32", *NONE]),
    ("kq-svd, output", 9, 1, ["--keys", "kq-svd", *RESIDUAL]),
    ("commuting-query, output", 9, 1, RESIDUAL),
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

    def source(self, kv_heads):
        if kv_heads == 3:
            return self.asked.model
        expanded = self.out / f"expanded-{kv_heads}.gguf"
        if not expanded.exists():
            command = [self.asked.bin / "quality_expand_heads", self.asked.model, expanded, str(kv_heads)]
            subprocess.run(command, check=True)
        return expanded

    def cell(self, before, after, options):
        """What merge-heads said, and the model compared with the original."""
        name = f"{before}to{after}" + "".join(options).replace("--", "_")
        file = self.out / f"{name}.json"
        if self.asked.resume and file.exists():
            return json.loads(file.read_text())
        print(name, file=sys.stderr, flush=True)
        merged = self.out / "merged.gguf"
        command = [self.asked.bin / "tightkv", "merge-heads", self.source(before), merged]
        command += ["--calibrate", self.calibration, "--kv-heads", after, "--threads", 2, "--json", *options]
        said = answer(command)
        compared = answer([self.asked.bin / "quality_compare_models", self.asked.model, self.test, 4, 512, merged])
        merged.unlink()
        cell = {"merge": said, "original": compared[0], "merged": compared[1]}
        file.write_text(json.dumps(cell, indent=1) + "\n")
        return cell


def table(lab):
    lines = [
        "| KV heads | keys, values | any engine | refit of W_O | calibration tokens | NLL | KL |",
        "| --- | --- | --- | --- | ---: | ---: | ---: |",
    ]
    for name, before, after, options in VARIANTS:
        c = lab.cell(before, after, options)
        m, r = c["merge"], c["merged"]
        if len(lines) == 2:
            lines.append(f"| 3 | the model as it is | yes | | | {c['original']['nll']:.3f} | 0 |")
        kl = f"{r['kl']:.3f}" if r["kl"] > 1e-3 else f"{r['kl']:.0e}"
        lines.append(
            f"| {before} → {after} | {name} | {'yes' if m['other_engines'] else 'no'} | {m['refit']} |"
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
