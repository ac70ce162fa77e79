# SPDX-License-Identifier: Apache-2.0
"""How well 64 digits stated in the context are read back, and how long compressing took beside the prefill."""

import statistics

from lab import markdown_table, percent, shown, summed_up
from text import FRACTIONS, TOKENS, answers
from variants import rows_of_lag_kv, with_rows

ONCE = ("h2o", "key_diff", "key_diff_h2o", "random")


def digits_and_exact(results):
    """Shares of digits and of whole keys, one per context."""
    accuracy = [r["accuracy"] for r in results]
    return accuracy, [float(a > 1 - 1e-6) for a in accuracy]


def stated_once(lab):
    """The same, had the key been stated once. A repetition attends to what it repeats, and H2O remembers that."""
    rows = rows_of_lag_kv(TOKENS, 0.25)
    keys = lab.passkeys(TOKENS, 2 if lab.quick else 8, statements=1)
    asked = [[with_rows(m, rows, i) for m in lab.methods if m["name"] in ONCE] for i in range(len(keys))]
    results = [lab.run(context, variants)[1] for context, variants in zip(keys, asked)]
    digits = {label: digits_and_exact([r[label] for r in results])[0] for label in results[0]}
    table = markdown_table(["method", f"digits, {rows} rows"], [[label, shown(d, 2)] for label, d in digits.items()])
    return {label: summed_up(d) for label, d in digits.items()}, f"\nStated once, {len(keys)} keys.\n\n" + table


def measure(lab):
    rows, labels, measured = answers(lab, lab.passkeys(TOKENS, 2 if lab.quick else 8))
    data, lines = {"tokens": TOKENS, "rows": rows, "keys": len(measured), "methods": {}}, []
    for label in ["full", *labels]:
        line = [label]
        for f in FRACTIONS:
            results = [r["full" if label == "full" else f"{label} @{f}"] for _, r in measured]
            digits, exact = digits_and_exact(results)
            data["methods"][f"{label} @{f}"] = {"digits": summed_up(digits), "exact": summed_up(exact)}
            line += [shown(digits, 2), shown(exact, 2)]
        first = FRACTIONS[0]
        share = [
            0 if label == "full" else r[f"{label} @{first}"]["compress_ms"] / answer["prefill_ms"]
            for answer, r in measured
        ]
        data["methods"][f"{label} @{first}"]["share_of_prefill"] = statistics.median(share)
        lines.append([*line, percent(statistics.median(share))])
    data["prefill_ms"] = statistics.median(answer["prefill_ms"] for answer, _ in measured)
    header = ["method", *(f"{what}, {rows[f]} rows" for f in FRACTIONS for what in ("digits", "exact"))]
    header.append(f"time / prefill, {rows[FRACTIONS[0]]} rows")
    text = f"{len(measured)} keys; prefill of {TOKENS} tokens {data['prefill_ms'] / 1e3:.1f} s (medians).\n\n"
    data["stated_once"], once = stated_once(lab)
    return data, text + markdown_table(header, lines) + once
