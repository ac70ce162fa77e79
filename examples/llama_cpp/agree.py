# SPDX-License-Identifier: Apache-2.0
"""agree.py OURS.json THEIRS.json: holds the small engine (`tightkv run`) against llama.cpp (`tightkv_llama compare`).

Both read the same context and score the same continuation. For every method: the small engine's NLL, llama.cpp's with the
very same rows kept (`--plans`), and with the rows that the method chose from llama.cpp's own keys, values and queries. Exits
1 where they are further apart than LIMIT nats: llama.cpp multiplies quantised activations, the small engine floats.
"""

import json
import pathlib
import sys

LIMIT = 0.05


def main(ours, theirs):
    ours = json.loads(pathlib.Path(ours).read_text())
    theirs = json.loads(pathlib.Path(theirs).read_text())
    if ours["tokens"] != theirs["tokens"]:
        raise SystemExit(f"the tokenisers disagree: {ours['tokens']} and {theirs['tokens']} tokens")
    given = {r["method"]: r for r in theirs["results"] if r.get("given")}
    chosen = {r["method"]: r for r in theirs["results"] if not r.get("given")}
    far = []
    print(f"{'NLL, nats':16}{'tightkv run':>12}{'same rows':>12}{'own choice':>12}")
    for result in ours["results"]:
        name, nll = result["method"], result["nll"]
        same = (chosen if name == "full" else given)[name]["nll"]
        own = chosen[name]["nll"]
        print(f"{name:16}{nll:12.4f}{same:12.4f}{own:12.4f}")
        compared = [same] if name == "random" else [same, own]  # by layer or all at once, random draws other rows
        if max(abs(nll - other) for other in compared) > LIMIT:
            far.append(name)
    if far:
        raise SystemExit(f"further apart than {LIMIT}: {', '.join(far)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
