# SPDX-License-Identifier: Apache-2.0
"""table.py FOLDER: prints what the methods did, and writes the same as FOLDER/table.md."""

import os
import pathlib
import sys
import textwrap

from results import Results, in_megabytes

COLUMNS = ("method", "rows", "KV cache, MB", "time, ms", "of prefill", "NLL", "KL", "digits, %", "exact")


def wrapped(text):
    return textwrap.fill(text, 100, subsequent_indent="  ")


def machine():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return os.uname().machine


def cells(outcome, of):
    is_full = outcome is of.full
    mark = "†" if outcome.attention_again else ""
    before, after = in_megabytes(of.full.bytes), in_megabytes(outcome.bytes)
    return (
        outcome.name,
        f"{outcome.rows:.0f}" if is_full else f"{of.full.rows:.0f} → {outcome.rows:.0f}",
        before if is_full else f"{before} → {after}",
        "" if is_full else f"{outcome.seconds * 1e3:.0f}{mark}",
        "" if is_full else f"{outcome.seconds / of.prefill_seconds:.1%}{mark}",
        f"{outcome.nll:.3f}",
        "0" if is_full else f"{outcome.kl:.4f}",
        f"{outcome.accuracy * 100:.0f} ± {outcome.standard_error * 100:.0f}",
        f"{outcome.exact} of {len(outcome.digits)}",
    )


def plain(groups):
    widths = [max(map(len, column)) for column in zip(COLUMNS, *(row for group in groups for row in group))]

    def line(row):
        first, *others = (text.rjust(width) for text, width in zip(row, widths))
        return "  ".join([row[0].ljust(widths[0]), *others]).rstrip()

    return "\n\n".join("\n".join(map(line, group)) for group in [[COLUMNS, *groups[0]], *groups[1:]])


def markdown(groups):
    rows = [COLUMNS, ("---",) + ("---:",) * (len(COLUMNS) - 1), *(row for group in groups for row in group)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def notes(results):
    keys = len(results.full.digits)
    key_digits = results.contexts["passkey-1"]["score_last"]
    return [
        f"SmolLM2-135M, {len(results.contexts)} contexts of {results.tokens} tokens, keys and values in f16, prefill "
        f"{results.prefill_seconds:.1f} s; {machine()}, {len(os.sched_getaffinity(0))} threads; `examples/run.sh`.",
        "Rows are per head, the same for every method: `lag_kv` is given the fraction of its partitions that comes to "
        "them. NLL (nats per token) and KL (nats, from the full cache's predictions) are over the "
        f"text's next {results.contexts['text']['score_last']} tokens.",
        f"Digits: the context states a {key_digits}-digit number; it is asked for after the compression, and this "
        f"share of the digits is the model's first choice (mean of {keys} numbers ± standard error). Exact: all of "
        "them are.",
        "† Computes the attention of the whole context again; an engine that keeps the sums as it goes need not.",
    ]


def story(results):
    """How the text goes on with the full cache, and with the compressed ones."""
    names = {name: "the full cache" if name == "full" else f"the rows that {name} kept" for name in results.generated}
    return [
        f"The text ends: {results.last_words}",
        *(f"With {names[name]}, it goes on: {' '.join(text.split())}" for name, text in results.generated.items()),
    ]


def main(folder):
    results = Results(folder)
    groups = [[cells(outcome, results) for outcome in group] for group in [[results.full], *results.budgets]]
    print(plain(groups), "\n".join(map(wrapped, notes(results))), "\n".join(map(wrapped, story(results))), sep="\n\n")
    (pathlib.Path(folder) / "table.md").write_text("\n\n".join([markdown(groups), *notes(results)]) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
