# SPDX-License-Identifier: Apache-2.0
"""merging_elsewhere.py transformers|llama_cpp LOGITS.f32 TOKENS MODEL.gguf: a merged model in an engine that is not ours.

    pip install torch transformers accelerate gguf numpy     # or: pip install llama-cpp-python numpy
    quality_model_speed MODEL.gguf TEXT TOKENS 0 LOGITS.f32  # our engine's logits of the text's first tokens

Prints how far its logits are from ours, and what it writes next; llama.cpp's speed as well (2 threads, 1024 tokens read,
64 written).
"""

import json
import pathlib
import sys
import time

import numpy as np

NEW = 16  # tokens written after the prompt


def by_transformers(model, ids):
    import torch
    import transformers

    torch.set_num_threads(2)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(model.parent, gguf_file=model.name, dtype=torch.float32)
    prompt = torch.tensor(ids[None])
    with torch.no_grad():
        logits = loaded(prompt).logits[0].numpy()
        written = loaded.generate(prompt, max_new_tokens=NEW, do_sample=False)[0, len(ids) :].tolist()
    return logits, {
        "by": f"transformers {transformers.__version__}, torch {torch.__version__}",
        "kv_heads": loaded.config.num_key_value_heads,
        "writes": written,
    }


def by_llama_cpp(model, ids):
    import llama_cpp

    f32 = llama_cpp.GGML_TYPE_F32
    loaded = llama_cpp.Llama(str(model), n_ctx=len(ids) + NEW, logits_all=True, n_threads=2, verbose=False, type_k=f32, type_v=f32)
    loaded.eval(ids.tolist())
    logits = np.array(loaded.scores[: len(ids)])
    written = []
    while len(written) < NEW:
        written.append(int(loaded.scores[loaded.n_tokens - 1].argmax()))
        loaded.eval(written[-1:])
    loaded = llama_cpp.Llama(str(model), n_ctx=2048, n_batch=512, n_threads=2, n_threads_batch=2, verbose=False)
    prompt = np.resize(ids, 1024).tolist()
    speeds = []
    for _ in range(3):
        loaded.reset()
        start = time.perf_counter()
        loaded.eval(prompt)
        read = time.perf_counter()
        for i in range(64):
            loaded.eval([int(ids[i])])
        speeds.append((1024 / (read - start), 64 / (time.perf_counter() - read)))
    prefill, decode = np.median(speeds, axis=0)
    by = f"llama-cpp-python {llama_cpp.__version__}"
    return logits, {"by": by, "writes": written, "prefill_tokens_per_s": prefill, "decode_tokens_per_s": decode}


def main():
    engine, dump, tokens, model = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]), pathlib.Path(sys.argv[4])
    raw = dump.read_bytes()
    ids = np.frombuffer(raw, dtype="<i4", count=tokens).astype(np.int64)
    ours = np.frombuffer(raw, dtype="<f4", offset=4 * tokens).reshape(tokens, -1)
    theirs, said = {"transformers": by_transformers, "llama_cpp": by_llama_cpp}[engine](model.resolve(), ids)
    said |= {
        "model": model.name,
        "tokens": tokens,
        "largest_difference": float(np.abs(ours - theirs).max()),
        "largest_logit": float(np.abs(ours).max()),
        "same_first_choice": float((ours.argmax(-1) == theirs.argmax(-1)).mean()),
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main()
