# SPDX-License-Identifier: Apache-2.0
"""measure.py --bin FOLDER --model FILE --text FILE --out FOLDER [--quick] [--long] [--resume] [TABLE]...

Measures the tables of README.md, or those named, and writes each as NAME.json and NAME.md. run.sh calls it.
"""

import argparse
import json
import pathlib
import shutil
import time

import attention_errors
import key_norms
import lag_sweep
import passkey
import streaming
import text
from lab import Lab

TABLES = {
    "text": text,
    "passkey": passkey,
    "lag_sweep": lag_sweep,
    "streaming": streaming,
    "key_norms": key_norms,
    "attention_errors": attention_errors,
}


def main():
    parser = argparse.ArgumentParser()
    for name in ("bin", "model", "text", "out"):
        parser.add_argument("--" + name, type=pathlib.Path, required=True)
    parser.add_argument("--quick", action="store_true", help="few contexts: to see that it works")
    parser.add_argument("--long", action="store_true", help="lag_sweep also at 7184 tokens")
    parser.add_argument("--resume", action="store_true", help="use what an earlier run has measured")
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=" ".join(TABLES))
    asked = parser.parse_args()
    if unknown := set(asked.tables) - set(TABLES):
        parser.error(f"no such table: {' '.join(unknown)}; there are {' '.join(TABLES)}")

    if not asked.resume:
        shutil.rmtree(asked.out / "cells", ignore_errors=True)
    lab = Lab(asked)
    for name in asked.tables or TABLES:
        start = time.monotonic()
        data, markdown = TABLES[name].measure(lab)
        (asked.out / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")
        (asked.out / f"{name}.md").write_text(markdown)
        print(f"\n## {name}: {time.monotonic() - start:.0f} s\n\n{markdown}", flush=True)


if __name__ == "__main__":
    main()
