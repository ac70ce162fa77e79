# SPDX-License-Identifier: Apache-2.0
"""How much worse a text's continuation is predicted: nats per token, and KL to the full cache's expectation."""

from lab import markdown_table, shown, summed_up
from variants import at, every_method, rows_of_lag_kv

TOKENS = 2064  # 16 sinks and 16 partitions of 128
FRACTIONS = (0.5, 0.25, 0.125)


def answers(lab, made, fractions=FRACTIONS, tokens=TOKENS):
    """For each context the answer and its results, all methods at all budgets."""
    rows = {f: rows_of_lag_kv(tokens, f) for f in fractions}
    out = []
    for seed, context in enumerate(made):
        variants = [v for f in fractions for v in at(f, every_method(lab.methods, tokens, rows[f], seed))]
        out.append(lab.run(context, variants))
        for f in fractions:
            assert all(r["kept"] == rows[f] for label, r in out[-1][1].items() if label.endswith(f"@{f}"))
    return rows, [v.label for v in every_method(lab.methods, tokens, rows[fractions[0]])], out


def measure(lab):
    rows, labels, measured = answers(lab, lab.texts(TOKENS, 2 if lab.quick else 6))
    data, lines = {"tokens": TOKENS, "rows": rows, "texts": len(measured), "methods": {}}, []
    for label in labels:
        line = [label]
        for f in FRACTIONS:
            results = [(r["full"], r[f"{label} @{f}"]) for _, r in measured]
            # Paired: texts differ from each other far more than caches do.
            worse = [after["nll"] - before["nll"] for before, after in results]
            kl = [after["kl"] for _, after in results]
            data["methods"][f"{label} @{f}"] = {"nll_increase": summed_up(worse), "kl": summed_up(kl)}
            line += [shown(worse), shown(kl)]
        lines.append(line)
    nll = [r["full"]["nll"] for _, r in measured]
    data["full_nll"] = summed_up(nll)
    header = ["method", *(f"{what}, {rows[f]} rows" for f in FRACTIONS for what in ("NLL increase", "KL"))]
    return data, f"Full cache: {TOKENS} rows, NLL {shown(nll)}.\n\n" + markdown_table(header, lines)
