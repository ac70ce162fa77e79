# SPDX-License-Identifier: Apache-2.0
"""How far each layer's attention output is from the full cache's, for the queries of what comes next."""

import statistics

from lab import markdown_table, shown, summed_up
from variants import at, every_method, rows_of_lag_kv

TOKENS = 2064
FRACTIONS = (0.5, 0.25)
LAYERS = (0, 1, 10, 20, 29)


def errors(lab, made, rows):
    """For each context {label: errors per layer}, all methods at all budgets."""
    out = []
    for seed, (name, context, continuation) in enumerate(made):
        variants = [v for f in FRACTIONS for v in at(f, every_method(lab.methods, TOKENS, rows[f], seed))]
        words = [",".join([v.method, *(f"{k}={x}" for k, x in v.settings.items())]) for v in variants]
        answer = lab.kept(name, "quality_attention_error", lab.model, context, continuation, *words)
        out.append({v.label: r["errors"] for v, r in zip(variants, answer["results"], strict=True)})
        assert all(
            r["kept"] == rows[f]
            for v, r in zip(variants, answer["results"])
            for f in FRACTIONS
            if v.label.endswith(f"@{f}")
        )
    return out


def measure(lab):
    count = 2 if lab.quick else 3
    made = {"text": lab.texts(TOKENS, count), "passkey": lab.passkeys(TOKENS, count)}
    rows = {f: rows_of_lag_kv(TOKENS, f) for f in FRACTIONS}
    measured = {what: errors(lab, of, rows) for what, of in made.items()}
    data, lines = {"rows": rows, "contexts": count, "methods": {}}, []
    for label in [v.label for v in every_method(lab.methods, TOKENS, rows[FRACTIONS[0]])]:
        line, data["methods"][label] = [label], {}
        for what, of_contexts in measured.items():
            for f in FRACTIONS:
                of_label = [of[f"{label} @{f}"] for of in of_contexts]
                means = [statistics.fmean(layers) for layers in of_label]
                per_layer = [statistics.fmean(values) for values in zip(*of_label)]
                data["methods"][label][f"{what} @{f}"] = {"mean": summed_up(means), "layers": per_layer}
                line.append(shown(means, 2))
        of_text = data["methods"][label][f"text @{FRACTIONS[-1]}"]["layers"]
        lines.append([*line, *(f"{of_text[layer]:.2f}" for layer in LAYERS)])
    header = ["method", *(f"{what}, {rows[f]} rows" for what in measured for f in FRACTIONS)]
    header += [f"layer {layer}" for layer in LAYERS]
    text = f"{count} texts and {count} keys; layers of the text at {rows[FRACTIONS[-1]]} rows.\n\n"
    return data, text + markdown_table(header, lines)
