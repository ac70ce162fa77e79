# SPDX-License-Identifier: Apache-2.0
"""Language modelling while the cache is held at a fixed number of rows: nats per token over the whole text."""

from lab import markdown_table, shown, summed_up
from variants import SINK, Variant, at, every_method, lag_rows

TOKENS, CHUNK = 1024, 16
ROWS = (128, 256)
TEXTS = 1  # a text is minutes; more give a standard error


def lag_kv(rows):
    """LagKV's cache grows with the text: the lag and the quota that end nearest below `rows`."""
    fitting = [
        (lag_rows(TOKENS, lag, kept), kept / lag, lag, kept)
        for lag in (16, 32, 64, 128)
        for kept in range(1, lag)
        if SINK + 2 * lag <= rows and lag_rows(TOKENS, lag, kept) <= rows
    ]
    lag, kept = max(fitting)[2:]
    return Variant("lag_kv", "lag_kv", {"lag": lag, "keep": (kept + 0.5) / lag, "sink": SINK})


def variants(lab, rows, seed):
    """Half of the rows are recent ones wherever a method lets us say so, as H2O has it."""
    out = []
    for v in every_method(lab.methods, TOKENS, rows, seed):
        if v is None or v.method == "lag_kv":  # the row count of one shot does not apply, or does not even fit
            out.append(lag_kv(rows))
            continue
        settings = dict(v.settings)
        if "recent" in settings:
            settings["recent"] = rows // 2
        if v.method == "lag_kv_global":
            settings["lag"] = rows // 4
        out.append(Variant(v.label, v.method, settings))
    return out


def measure(lab):
    texts = lab.texts(TOKENS, TEXTS)
    measured = [
        lab.run(text, [v for rows in ROWS for v in at(rows, variants(lab, rows, i))], stream=CHUNK)[1]
        for i, text in enumerate(texts)
    ]
    full = [r["full"]["nll"] for r in measured]
    data = {"tokens": TOKENS, "chunk": CHUNK, "texts": len(texts), "full": summed_up(full), "methods": {}}
    lines = []
    for label in [v.label for v in variants(lab, ROWS[0], 0)]:
        line = [label]
        for rows in ROWS:
            results = [r[f"{label} @{rows}"] for r in measured]
            worse = [r["nll"] - f for r, f in zip(results, full)]  # paired, as in text.py
            peak = max(r["peak_rows"] for r in results)
            data["methods"][f"{label} @{rows}"] = {"nll_increase": summed_up(worse), "peak_rows": peak}
            line += [shown(worse), peak]
        lines.append(line)
    header = ["method", *(what for rows in ROWS for what in (f"NLL increase, {rows} rows", "peak"))]
    text = f"Texts: {len(texts)}, of {TOKENS} tokens, {CHUNK} at a time. Full cache: {shown(full)} nats per token.\n\n"
    return data, text + markdown_table(header, lines)
