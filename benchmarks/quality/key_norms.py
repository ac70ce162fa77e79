# SPDX-License-Identifier: Apache-2.0
"""The L2 norm's premise, that short keys receive much attention, and what comes of it."""

import statistics

from lab import markdown_table, shown, summed_up
from passkey import digits_and_exact
from variants import PROTECTED, Variant, at

TOKENS, SKIPPED = 2064, 2
FRACTIONS = (0.5, 0.25, 0.1)


def premise(lab):
    """Rank correlations per layer, averaged over heads and texts."""
    made = lab.texts(TOKENS, 1 if lab.quick else 3)
    answers = [lab.kept(name, "quality_norm_correlation", lab.model, context)["layers"] for name, context, _ in made]
    data, lines = [], []
    for layer, of_texts in enumerate(zip(*answers)):
        heads = [statistics.fmean(values) for values in zip(*(t["per_query"] for t in of_texts))]
        sums = [statistics.fmean(values) for values in zip(*(t["sum"] for t in of_texts))]
        data.append({"layer": layer, "per_query": heads, "sum": sums})
        each = ", ".join(f"{h:+.2f}" for h in heads)
        lines.append([layer, f"{statistics.fmean(heads):+.2f}", each, f"{statistics.fmean(sums):+.2f}"])
    whole = [v for layer in data for v in layer["per_query"]]
    lines.append(["all", f"{statistics.fmean(whole):+.2f}", f"{min(whole):+.2f} to {max(whole):+.2f}",
                  f"{statistics.fmean(v for layer in data for v in layer['sum']):+.2f}"])  # fmt: skip
    header = ["layer", "attention per query that sees the token", "heads", "attention, summed"]
    return data, f"Spearman, {len(made)} texts of {TOKENS} tokens.\n\n" + markdown_table(header, lines)


def variants(rows, layers):
    """With and without the first two layers left alone: at as many rows elsewhere, and at as many bytes."""
    skip = {"skip_layers": ",".join(str(layer) for layer in range(SKIPPED))}
    paid = (layers * rows - SKIPPED * TOKENS) // (layers - SKIPPED)  # rows elsewhere that pay for the two layers
    return [
        Variant("l2_norm", "l2_norm", {"tokens": rows}),
        Variant("l2_norm, layers 0 and 1 whole", "l2_norm", {"tokens": rows} | skip),
        Variant("the same, at the same bytes", "l2_norm", {"tokens": paid} | skip),
        Variant("l2_norm, first 4 and last 128 protected", "l2_norm", {"tokens": rows} | PROTECTED),
        Variant("random", "random", {"tokens": rows}),
        Variant("random, layers 0 and 1 whole", "random", {"tokens": rows} | skip),
    ]


def measure(lab):
    correlations, markdown = premise(lab)
    layers = len(correlations)
    keys = lab.passkeys(TOKENS, 2 if lab.quick else 8)
    data, lines = {"premise": correlations, "passkey": {}}, {}
    asked = [v for f in FRACTIONS for v in at(f, variants(int(f * TOKENS), layers))]
    results = [lab.run(context, asked)[1] for context in keys]
    for v in asked:
        digits, exact = digits_and_exact([r[v.label] for r in results])
        data["passkey"][v.label] = {"digits": summed_up(digits), "exact": summed_up(exact)}
        label = v.label.split(" @")[0]
        lines.setdefault(label, [label]).append(shown(digits, 2))
    header = ["method", *(f"digits, {int(f * TOKENS)} rows" for f in FRACTIONS)]
    return data, markdown + f"\nPasskey, {len(keys)} keys.\n\n" + markdown_table(header, lines.values())
