# SPDX-License-Identifier: Apache-2.0
"""merging.py --bin FOLDER --model FILE --text FILE --out FOLDER [--resume] [--energy FILE.svg]

Merges the KV heads of a real model in many ways, and writes what is left of it as tables, merging.md. merging.sh calls it.
Measured are 4 windows of 512 tokens spread over text that was neither calibrated on nor chosen by. With --energy, and
matplotlib, the premise is drawn as well.
"""

import argparse
import json
import pathlib
import statistics

from merging_energy import draw
from merging_lab import Lab

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
DEFAULT = []
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
    (PLAIN, 1, ["--ridge", "0", *SIX]),
    (PLAIN, 1, ["--refit", "output", *SIX]),
    (PLAIN, 1, SIX),
    (PLAIN, 1, ["--keys", "commuting-query"]),
    (PLAIN, 1, ["--keys", "kq-svd"]),
    (PLAIN, 1, DEFAULT),
    (COPIES, 3, ["--type", "f32", *TWO]),
    (COPIES, 1, MEAN),
    (COPIES, 1, ["--keys", "kq-svd", *TWO]),
    (COPIES, 1, ["--keys", "commuting-query", *TWO]),
    (COPIES, 1, SIX),
    (DEALT, 3, ["--keys", "layer-wide", "--values", "svd", *TWO]),
    (DEALT, 3, ["--keys", "post-rope", "--values", "svd", *TWO]),
    (DEALT, 3, ["--groups", "similar", "--type", "f32", *TWO]),
    (NOISY, 3, MEAN),
    (NOISY, 3, ["--keys", "kq-svd", "--values", "svd-weights", *TWO]),
    (NOISY, 3, ["--keys", "kq-svd", "--values", "svd", *TWO]),
    (NOISY, 3, ["--keys", "kq-svd", *TWO]),
    (NOISY, 3, ["--keys", "layer-wide", "--values", "svd", *TWO]),
    (NOISY, 3, ["--keys", "post-rope", "--values", "svd", *TWO]),
    (NOISY, 3, ["--keys", "commuting", "--values", "svd", *TWO]),
    (NOISY, 3, ["--keys", "commuting-query", *TWO]),
    (NOISY, 3, TWO),
]
# The default's ridge was chosen among these.
RIDGES = [["--ridge", "0.003"], ["--ridge", "0.01"], DEFAULT, ["--ridge", "0.1"], ["--ridge", "0.3"]]
# Those that are looked at in long contexts.
FAR = [DEFAULT, ["--keys", "commuting-query"], ["--keys", "kq-svd"]]


def measured(lab, model, after, options):
    measures = {"report": lab.compared("report", 4, 512)}
    if model == PLAIN and options in RIDGES:
        measures["choice"] = lab.compared("choice", 8, 512)
    if model == PLAIN and options in FAR:
        measures["far"] = lab.compared("report", 3, 4096)
    if model == PLAIN and options == DEFAULT:
        measures["evicted"] = lambda _, merged: lab.evicted(merged)
    return lab.cell(model, after, options, measures)


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
        c = measured(lab, model, after, options)
        m, (original, merged) = c["merge"], c["report"]
        if model[2] not in seen:
            seen.add(model[2])
            lines.append(f"| {model[2]} | as they are | | yes | | | {original['nll']:.3f} | 0 |")
        kl = f"{merged['kl']:.3f}" if merged["kl"] > 1e-3 else f"{merged['kl']:.0e}"
        keys = m["keys"] + (", 0 steps" if "--steps" in options else "")
        keys += ", similar heads" if m["groups"] == "similar" else ""
        lines.append(
            f"| {model[2]} → {after} | {keys} | {m['values']} | {'yes' if m['other_engines'] else 'no'} | {refit(m)} |"
            f" {m['calibration_tokens']} | {merged['nll']:.3f} | {kl} |"
        )
    return lines


def ridges(lab):
    lines = ["| ridge | KL, text to choose by | KL, text reported |", "| --- | ---: | ---: |"]
    for options in RIDGES:
        c = measured(lab, PLAIN, 1, options)
        lines.append(f"| {c['merge']['ridge']} | {c['choice'][1]['kl']:.3f} | {c['report'][1]['kl']:.3f} |")
    return lines


def far(lab):
    cells = [measured(lab, PLAIN, 1, options) for options in FAR]
    ends = [part["until_position"] for part in cells[0]["far"][0]["by_position"]]
    header = [f"{first} to {last}" for first, last in zip([0, *ends], ends)]
    lines = [f"| keys | {' | '.join(header)} |", "| --- |" + " ---: |" * len(ends)]
    for c in cells:
        parts = " | ".join(f"{part['kl']:.3f}" for part in c["far"][1]["by_position"])
        lines.append(f"| {c['merge']['keys']} | {parts} |")
    return lines


def evicted(lab):
    lines = ["| KV heads | rows | KV bytes | NLL | KL from the same model, all rows |", "| --- | --- | ---: | ---: | ---: |"]
    original = lab.kept("3 evicted", lambda: lab.evicted(lab.asked.model))
    merged = measured(lab, PLAIN, 1, DEFAULT)["evicted"]
    for heads, contexts in (("3", original), ("3 → 1", merged)):
        for name, results in zip(("all", "lag_kv, half"), zip(*contexts)):
            mean = {key: statistics.fmean(r[key] for r in results) for key in ("kv_bytes_after", "nll", "kl")}
            lines.append(f"| {heads} | {name} | {mean['kv_bytes_after'] / 1e6:.1f} MB | {mean['nll']:.3f} | {mean['kl']:.3f} |")
    return lines


def main():
    parser = argparse.ArgumentParser()
    for name in ("bin", "model", "text", "out"):
        parser.add_argument("--" + name, type=pathlib.Path, required=True)
    parser.add_argument("--resume", action="store_true", help="use what an earlier run has measured")
    parser.add_argument("--energy", type=pathlib.Path, help="draw the share of energy in the leading directions")
    asked = parser.parse_args()
    lab = Lab(asked)
    if asked.energy:
        layers = lab.answer("quality_head_energy", asked.model, lab.texts["calibration"], 1024)
        (asked.out / "energy.json").write_text(json.dumps(layers) + "\n")
        draw(layers, asked.energy)
    parts = ["\n".join(make(lab)) for make in (evicted, far, ridges, table)]  # the longest last
    markdown = "\n\n".join(reversed(parts)) + "\n"
    (asked.out / "merging.md").write_text(markdown)
    print(markdown)


if __name__ == "__main__":
    main()
