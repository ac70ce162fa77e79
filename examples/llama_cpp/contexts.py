# SPDX-License-Identifier: Apache-2.0
"""contexts.py MODEL TEXT FOLDER TOKENS...: writes what the model is to read, and prints a line for each.

The demo's contexts (../demo/contexts.py), in FOLDER/TOKENS/, for each of these lengths. A line is: the length, the name,
how many of the continuation's tokens are to be scored, and the methods with parameters that keep a quarter of the rows.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "demo"))

import budgets  # noqa: E402
import contexts  # noqa: E402

KEEP = 0.25
BY_TOKENS = ["lag_kv_global", "l2_norm", "key_diff", "h2o", "key_diff_h2o", "snap_kv", "tova", "streaming_llm", "random"]
LAG, SINK = 128, 16


def methods(tokens):
    rows = int(KEEP * tokens)
    kept = budgets.kept_per_partition(rows, tokens, SINK, LAG)
    chosen = [("lag_kv", f"keep={(kept + 0.5) / LAG}")] + [(name, f"tokens={rows}") for name in BY_TOKENS]
    return " ".join(f"--method {name} --set {setting}" for name, setting in chosen)


def main(model, text, folder, *lengths):
    for tokens in map(int, lengths):
        contexts.TOKENS = tokens
        author = contexts.Author(contexts.Tokenizer(model), contexts.prose(pathlib.Path(text).read_text()))
        inside = pathlib.Path(folder) / str(tokens)
        inside.mkdir(parents=True, exist_ok=True)
        asked = {
            name: (author.passkey(depth, seed), contexts.DIGITS)
            for seed, (name, depth) in enumerate(contexts.DEPTHS.items(), 1)
        }
        for name, ((context, digits, _), scored) in asked.items():
            write(inside, name, context, contexts.QUESTION + digits)
            print(tokens, name, scored, methods(tokens))
        write(inside, "text", *author.text(seed=0))
        print(tokens, "text", contexts.CONTINUATION - 1, methods(tokens))


def write(folder, name, context, continuation):
    (folder / f"{name}.context.txt").write_text(context)
    (folder / f"{name}.continuation.txt").write_text(continuation)


if __name__ == "__main__":
    main(*sys.argv[1:])
