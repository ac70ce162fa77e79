# SPDX-License-Identifier: Apache-2.0
"""merging_elsewhere.py MODEL.gguf...: loads merged models by transformers, and holds its logits against our engine's.

    pip install torch transformers accelerate gguf numpy
    quality_dump_logits MODEL.gguf TEXT TOKENS OUT.f32     # ours: int32 token ids, then float32 logits
    merging_elsewhere.py MODEL.gguf OUT.f32 TOKENS
"""

import json
import pathlib
import sys

import numpy as np
import torch
import transformers


def main():
    model, dump, tokens = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]), int(sys.argv[3])
    raw = dump.read_bytes()
    ids = np.frombuffer(raw, dtype="<i4", count=tokens)
    ours = np.frombuffer(raw, dtype="<f4", offset=4 * tokens).reshape(tokens, -1)
    torch.set_num_threads(1)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(
        model.parent, gguf_file=model.name, dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        theirs = loaded(torch.tensor(ids[None].astype(np.int64))).logits[0].numpy()
    print(
        json.dumps(
            {
                "model": model.name,
                "by": f"transformers {transformers.__version__}, torch {torch.__version__}",
                "kv_heads": loaded.config.num_key_value_heads,
                "tokens": tokens,
                "largest_difference": float(np.abs(ours - theirs).max()),
                "first_choices_equal": float((ours.argmax(-1) == theirs.argmax(-1)).mean()),
            }
        )
    )


if __name__ == "__main__":
    main()
