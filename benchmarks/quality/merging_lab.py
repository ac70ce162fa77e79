# SPDX-License-Identifier: Apache-2.0
"""Models with merged KV heads, and what is left of them: the programs of merging.py."""

import json
import re
import subprocess
import sys
import time


class Lab:
    """The text's first half is calibrated on, what was chosen was chosen on the next tenth, the rest is reported."""

    def __init__(self, asked):
        self.asked, self.out, self.done = asked, asked.out, {}
        self.out.mkdir(parents=True, exist_ok=True)
        text = asked.text.read_text()
        ends = [0, *(text.rindex("\n\n", 0, len(text) * tenths // 10) + 2 for tenths in (5, 6)), len(text)]
        self.texts = {}
        for name, first, last in zip(("calibration", "choice", "report"), ends, ends[1:]):
            self.texts[name] = self.out / f"{name}.txt"
            self.texts[name].write_text(text[first:last])

    def source(self, model):
        kv_heads, how, name = model
        if how is None:
            return self.asked.model
        expanded = self.out / f"{name.replace(', ', '-').replace(' ', '-')}.gguf"
        if not expanded.exists():
            self.run("quality_expand_heads", self.asked.model, expanded, *how)
        return expanded

    def cell(self, model, after, options, measures):
        """What merge-heads said, and the {name: function of the original and the merged file} asked for."""
        source = self.source(model)

        def measured():
            merged = self.out / "merged.gguf"
            start = time.monotonic()
            said = self.answer(
                "tightkv", "merge-heads", source, merged, "--calibrate", self.texts["calibration"],
                "--kv-heads", after, "--threads", 2, "--json", *options,
            )  # fmt: skip
            cell = {"merge": said, **{name: measure(source, merged) for name, measure in measures.items()}}
            merged.unlink()
            return cell | {"seconds": time.monotonic() - start}

        return self.kept(f"{model[2]} to {after} {' '.join(options)}", measured)

    def kept(self, what, measured):
        """Measured once; with --resume, not even that."""
        name = re.sub(r"\W+", "_", what).strip("_")
        file = self.out / f"{name}.json"
        if name not in self.done:
            if self.asked.resume and file.exists():
                self.done[name] = json.loads(file.read_text())
            else:
                print(name, file=sys.stderr, flush=True)
                self.done[name] = measured()
                file.write_text(json.dumps(self.done[name], indent=1) + "\n")
        return self.done[name]

    def compared(self, text, windows, tokens):
        """A measure: both models on as many windows of a text, [original, merged]."""
        return lambda *models: self.answer("quality_compare_models", models[0], self.texts[text], windows, tokens, models[1])

    def evicted(self, model):
        """The cache of four contexts whole and with half of it gone, and how each goes on: [[full, lag_kv], ...]."""
        text = self.texts["report"].read_text()
        files = [self.out / f"{part}.txt" for part in ("context", "continuation")]
        results = []
        for i in range(4):
            ends = [text.index("\n\n", len(text) * i // 4 + length) for length in (0, 8400, 10400)]  # 4 to a token
            for file, first, last in zip(files, ends, ends[1:]):
                file.write_text(text[first:last])
            asked = ["--context", files[0], "--continuation", files[1], "--method", "lag_kv", "--set", "keep=0.5"]
            results.append(self.answer("tightkv", "run", "--model", model, "--threads", 2, "--json", *asked)["results"])
        return results

    def answer(self, *command):
        return json.loads(self.run(*command))

    def run(self, program, *arguments):
        command = [self.asked.bin / program, *arguments]
        return subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE, text=True).stdout
