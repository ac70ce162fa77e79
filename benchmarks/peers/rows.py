# SPDX-License-Identifier: Apache-2.0
"""The rows that are measured: each has contenders (ours, floor, eager, compiled, and here and there tuned and kvpress)
and a check that their answers agree."""

from attention_rows import ColumnSums, ColumnSumsOfLse, WindowVotes
from merger_rows import GramUpdate, Projection
from one_shot_rows import L2, Compaction, L2Score, LagKV, LagScore, Select
from step_rows import H2OStep, LagStep
from work import DTYPES

# What is measured, in the order of the table: work, types, tokens.
ALL = tuple(DTYPES)
ROWS = {
    "LagKV end to end": (LagKV, ALL, (8192, 32768)),
    "L2 end to end": (L2, ALL, (8192, 32768)),
    "LagKV score": (LagScore, ALL, (8192, 32768)),
    "L2 score": (L2Score, ALL, (8192, 32768)),
    "select 32k of 25 %": (Select, ("f32",), (32768,)),
    "H2O column sums": (ColumnSums, ALL, (2048,)),
    "H2O column sums, log-sum-exp given": (ColumnSumsOfLse, ("f32", "bf16"), (2048,)),
    "SnapKV window scores": (WindowVotes, ALL, (8192, 32768)),
    "compaction in place": (Compaction, ALL, (8192, 32768)),
    "LagKV decode step, one partition": (LagStep, ("f32", "bf16"), (8192,)),
    "H2O decode step": (H2OStep, ("f32", "bf16"), (2048,)),
    "Gram update": (GramUpdate, ("f32", "bf16"), (1024,)),
    "projection of keys": (Projection, ("f32", "bf16"), (1024,)),
}
