# SPDX-License-Identifier: Apache-2.0
"""Methods with their parameters, so that all of them keep the same number of rows.

A budget counts every row that stays: sinks, protected rows, LagKV's last partition. LagKV's fraction is of a
partition, so the count is solved for:

    rows = sink + k (partitions - 1) + lag + remainder, with k rows of each partition but the last
"""

import dataclasses

SINK, LAG = 16, 128  # LagKV's own
PROTECTED = {"sink": 4, "recent": 128}  # for the methods that protect nothing by themselves


@dataclasses.dataclass(frozen=True)
class Variant:
    label: str
    method: str
    settings: dict


def lag_rows(tokens, lag, kept):
    partitions, remainder = divmod(tokens - SINK, lag)
    return SINK + kept * (partitions - 1) + lag + remainder


def rows_of_lag_kv(tokens, fraction):
    """The number of rows nearest to a fraction that LagKV can keep: the budget of all methods."""
    return min((lag_rows(tokens, LAG, k) for k in range(1, LAG)), key=lambda rows: abs(rows - fraction * tokens))


def lag_kv(tokens, rows, lag=LAG, label="lag_kv"):
    """LagKV with the most rows within a budget, or none if its sinks and its last partition are more than that."""
    fitting = [k for k in range(1, lag) if lag_rows(tokens, lag, k) <= rows]
    if not fitting:
        return None
    keep = (fitting[-1] + 0.5) / lag  # the half: so that rounding cannot lose a row
    return Variant(label, "lag_kv", {"keep": keep, "lag": lag, "sink": SINK})


def with_rows(method, rows, seed=0, protected=PROTECTED):
    """A method that is told a number of rows; `method` is an entry of `tightkv methods --json`."""
    accepted = {p["name"] for p in method["parameters"]}
    settings = {"tokens": rows}
    if {"sink", "recent"} <= accepted:
        settings |= protected
    if "seed" in accepted:
        settings["seed"] = seed
    return Variant(method["name"], method["name"], settings)


def every_method(methods, tokens, rows, seed=0):
    """All methods, and two of them also with nothing protected, as they were published."""
    variants = []
    for method in methods:
        if method["name"] == "lag_kv":
            variants.append(lag_kv(tokens, rows))
            continue
        variants.append(with_rows(method, rows, seed))
        if method["name"] in ("l2_norm", "key_diff"):
            variants.append(Variant(method["name"] + ", nothing protected", method["name"], {"tokens": rows}))
    return variants


def at(budget, variants):
    """The same under labels that say the budget."""
    return [dataclasses.replace(v, label=f"{v.label} @{budget}") for v in variants if v]
