# SPDX-License-Identifier: Apache-2.0
"""Contexts to measure on, the programs that measure, and the words that sum up what they said."""

import hashlib
import json
import math
import os
import pathlib
import re
import statistics
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "examples" / "demo"))
import contexts  # noqa: E402: passkey contexts of exactly so many tokens, as examples/run.sh uses them
from tokenizer import Tokenizer  # noqa: E402

contexts.DIGITS = DIGITS = 64


class Lab:
    def __init__(self, asked):
        self.quick, self.long = asked.quick, asked.long
        self.programs, self.model, self.out = asked.bin, asked.model, asked.out
        for folder in ("cells", "texts"):
            (self.out / folder).mkdir(parents=True, exist_ok=True)
        self.author = contexts.Author(Tokenizer(self.model), contexts.prose(asked.text.read_text()))
        self.methods = json.loads(self.answer("tightkv", "methods", "--json"))["methods"]

    # Contexts: (name, context file, continuation file).

    def passkeys(self, tokens, count, statements=2):
        """Contexts that state a number of 64 digits, at depths spread evenly."""
        contexts.TOKENS = tokens
        made = []
        for i in range(count):
            context, digits, _ = self.author.passkey((i + 0.5) / count, seed=i + 1)
            name = f"passkey-{tokens}-{i + 1}of{count}"
            if statements == 1:
                context, name = context.replace(f" {digits} is the pass key.", ""), name + "-once"
            made.append(self.written(name, context, contexts.QUESTION + digits))
        return made

    def texts(self, tokens, count):
        """Prose from places of the document that differ, and how it goes on."""
        contexts.TOKENS = tokens
        made, seen, seed = [], set(), 0
        while len(made) < count:
            context, continuation = self.author.text(seed)
            seed += 1
            if context not in seen:
                seen.add(context)
                made.append(self.written(f"text-{tokens}-{len(made) + 1}", context, continuation))
        return made

    def written(self, name, context, continuation):
        files = [self.out / "texts" / f"{name}.{part}.txt" for part in ("context", "continuation")]
        for file, text in zip(files, (context, continuation)):
            file.write_text(text)
        return name, *files

    # Programs. What they answered is kept, so that a run that was stopped can go on.

    def run(self, context, variants, stream=0):
        """`tightkv run`, streamed if so many tokens at a time: (the whole answer, {label: its result})."""
        name, *files = context
        arguments = ["run", "--model", self.model, "--threads", os.cpu_count(), "--json"]
        if stream:
            arguments += ["--stream", files[0], "--chunk", stream]
        else:
            arguments += ["--context", files[0], "--continuation", files[1]]
            if name.startswith("passkey"):
                arguments += ["--score-last", DIGITS]
        for v in variants:
            arguments += ["--method", v.method]
            for key, value in v.settings.items():
                arguments += ["--set", f"{key}={value}"]
        answer = self.kept(name, "tightkv", *arguments)
        return answer, dict(zip(["full", *(v.label for v in variants)], answer["results"], strict=True))

    def kept(self, name, program, *arguments):
        arguments = [str(a) for a in arguments]
        read = [pathlib.Path(a).read_text() for a in arguments if a.endswith(".txt")]
        asked = {"arguments": arguments, "texts": hashlib.sha256("\0".join(read).encode()).hexdigest()}
        for i in range(100):  # the same context may be asked different things
            file = self.out / "cells" / f"{program}-{name}-{i}.json"
            if not file.exists():
                break
            cell = json.loads(file.read_text())
            if cell["asked"] == asked:
                return cell["answer"]
        print(f"{program} on {name}", file=sys.stderr, flush=True)
        answer = json.loads(self.answer(program, *arguments))
        file.write_text(json.dumps({"asked": asked, "answer": answer}) + "\n")
        return answer

    def answer(self, program, *arguments):
        command = [self.programs / program, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def summed_up(values):
    """(mean, standard error)."""
    error = math.nan  # of one value there is none
    if len(values) > 1:
        error = statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values), error


def shown(values, digits=3):
    mean, error = summed_up(values)
    return f"{mean:.{digits}f}" if math.isnan(error) else f"{mean:.{digits}f} ± {error:.{digits}f}"


def markdown_table(header, rows):
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def percent(fraction):
    return re.sub(r"\.0$", "", f"{100 * fraction:.1f}") + " %"
