# SPDX-License-Identifier: Apache-2.0
"""LagKV's partition length: passkey and text at lags from 64 to 1024, beside other methods at as many rows."""

import dataclasses

from lab import markdown_table, shown, summed_up
from passkey import digits_and_exact
from variants import lag_kv, with_rows

LAGS = (64, 128, 256, 512, 1024)
FRACTIONS = (0.5, 0.25)
BESIDE = ("key_diff", "snap_kv", "streaming_llm", "random")  # H2O's sums would take longer than all of these together
CONTEXTS = {4112: {"keys": 8, "texts": 3}, 7184: {"keys": 8, "texts": 3}}  # 16 sinks, 4 or 7 partitions of 1024


def variants(lab, tokens, seed):
    """LagKV never has more rows than the others; a lag whose last partition alone is as large is left out."""
    out = []
    for f in FRACTIONS:
        rows = int(f * tokens)
        of_lags = [lag_kv(tokens, rows, lag, f"lag_kv, lag {lag}") for lag in LAGS]
        others = [with_rows(m, rows, seed) for m in lab.methods if m["name"] in BESIDE]
        out += [dataclasses.replace(v, label=f"{v.label} @{f}") for v in of_lags + others if v]
    return out


def measure(lab):
    data, markdown = {}, ""
    for tokens, cells in CONTEXTS.items():
        if tokens > 4112 and not lab.long:
            break
        keys = lab.passkeys(tokens, 2 if lab.quick else cells["keys"])
        texts = lab.texts(tokens, 2 if lab.quick else cells["texts"])
        of_keys, of_texts = (
            [lab.run(c, variants(lab, tokens, i))[1] for i, c in enumerate(made)]
            for made in (keys, texts)
        )
        labels = dict.fromkeys(label.split(" @")[0] for label in of_keys[0] if label != "full")
        labels = [label for label in labels if label.startswith("lag_kv")] + [
            label for label in BESIDE if label in labels
        ]
        lines, methods = [], {}
        for label in ["full", *labels]:
            line = [label]
            for f in FRACTIONS:
                name = "full" if label == "full" else f"{label} @{f}"
                if name not in of_keys[0]:
                    line += ["does not fit", "", "", ""]
                    continue
                digits, exact = digits_and_exact([r[name] for r in of_keys])
                kl = [r[name]["kl"] for r in of_texts]
                rows = of_keys[0][name]["kept"]
                methods[name] = {
                    "rows": rows,
                    "digits": summed_up(digits),
                    "exact": summed_up(exact),
                    "kl": summed_up(kl),
                }
                line += [rows, shown(digits, 2), shown(exact, 2), shown(kl)]
            lines.append(line)
        data[tokens] = {"keys": len(keys), "texts": len(texts), "methods": methods}
        header = ["method", *(what for _ in FRACTIONS for what in ("rows", "digits", "exact", "text KL"))]
        markdown += f"\n{tokens} tokens, {len(keys)} keys, {len(texts)} texts.\n\n" + markdown_table(header, lines)
    return data, markdown.lstrip("\n")
