# SPDX-License-Identifier: Apache-2.0
"""What the runs of examples/run.sh answered, put side by side."""

import json
import math
import pathlib
import statistics


class Outcome:
    """One method at one budget, in all contexts."""

    def __init__(self, method, answers):
        self.name = method["name"]
        self.needs = method["needs"]
        each = list(answers.values())
        self.rows = statistics.fmean(rows for a in each for rows in as_list(a["kept"]))
        self.bytes = statistics.fmean(a["kv_bytes_after"] for a in each)
        self.seconds = statistics.fmean(a["compress_ms"] for a in each) / 1e3
        self.nll = answers["text"]["nll"]
        self.kl = answers["text"]["kl"]
        self.digits = [a["accuracy"] for name, a in answers.items() if name.startswith("passkey")]
        self.indices = {name: a.get("indices") for name, a in answers.items()}

    @property
    def attention_again(self):
        """Its time is mostly that of computing the prefill's attention a second time."""
        return "queries of all tokens" in self.needs

    @property
    def accuracy(self):
        return statistics.fmean(self.digits)

    @property
    def standard_error(self):
        return statistics.stdev(self.digits) / math.sqrt(len(self.digits))

    @property
    def exact(self):
        return sum(share == 1 for share in self.digits)


class Results:
    def __init__(self, folder):
        def read(name):
            return json.loads((pathlib.Path(folder) / f"{name}.json").read_text())

        self.contexts = {c["name"]: c for c in read("contexts")}
        self.tokens = self.contexts["text"]["tokens"]
        answers = {name: read(name) for name in self.contexts}
        for name, answer in answers.items():
            if answer["tokens"] != self.tokens:
                raise SystemExit(f"{name}: {answer['tokens']} tokens were read where {self.tokens} were written")
        self.last_words = (pathlib.Path(folder) / "text.context.txt").read_text().splitlines()[-1]
        self.generated = {r["method"]: r["text"] for r in read("generated")["results"]}
        self.prefill_seconds = statistics.fmean(a["prefill_ms"] for a in answers.values()) / 1e3

        methods = read("methods")["methods"]
        by_name = {m["name"]: m for m in methods} | {"full": {"name": "full", "needs": "nothing"}}
        outcomes = []
        for same in zip(*(a["results"] for a in answers.values()), strict=True):
            (name,) = {r["method"] for r in same}
            outcomes.append(Outcome(by_name[name], dict(zip(answers, same))))
        self.full, *rest = outcomes
        self.budgets = [rest[i : i + len(methods)] for i in range(0, len(rest), len(methods))]


def as_list(value):
    return value if isinstance(value, list) else [value]


def in_megabytes(size):
    return f"{size / 1e6:.1f}"
