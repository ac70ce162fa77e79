# SPDX-License-Identifier: Apache-2.0
"""Makes the golden sequence states with llama.cpp itself, from tiny models with random weights.

    pip install llama-cpp-python==0.3.36 gguf
    python make.py

Writes beside itself; README.md says what each file is. The models are made anew each time, from a fixed seed.
"""

import ctypes
import os
import pathlib
import subprocess
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np

HERE = pathlib.Path(__file__).parent
TOKENS = 12
HIDDEN, FEED_FORWARD, HEADS, KV_HEADS, HEAD_DIM, VOCABULARY = 256, 64, 4, 2, 64, 32
TYPES = {name: gguf.GGMLQuantizationType[name.upper()].value for name in ("f32", "f16", "bf16", "q8_0", "q4_0")}


# Models. Weights are wide enough that keys differ from token to token and from layer to layer.


class Weights:
    def __init__(self, writer):
        self.writer = writer
        self.random = np.random.default_rng(4)

    def matrix(self, name, rows, columns, scale=0.3):
        self.writer.add_tensor(f"{name}.weight", self.random.normal(0, scale, (rows, columns)).astype(np.float32))

    def ones(self, name, size):
        self.writer.add_tensor(f"{name}.weight", np.ones(size, np.float32))


def common(path, architecture, layers):
    w = gguf.GGUFWriter(path, architecture)
    w.add_context_length(256)
    w.add_embedding_length(HIDDEN)
    w.add_block_count(layers)
    w.add_feed_forward_length(FEED_FORWARD)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(VOCABULARY)
    w.add_tokenizer_model("none")
    return w


def finish(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def attention_model(path, architecture, layers, extra_norms=(), rope_sections=None, window=0):
    w = common(path, architecture, layers)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV_HEADS)
    w.add_key_length(HEAD_DIM)
    w.add_value_length(HEAD_DIM)
    w.add_rope_dimension_count(HEAD_DIM)
    w.add_rope_freq_base(10000.0)
    if rope_sections:
        w.add_rope_dimension_sections(rope_sections)
    if window:
        w.add_sliding_window(window)
        w.add_sliding_window_pattern(2)  # one layer with a window, one without
    weights = Weights(w)
    weights.matrix("token_embd", VOCABULARY, HIDDEN, 1.0)
    weights.ones("output_norm", HIDDEN)
    for i in range(layers):
        for norm in ("attn_norm", "ffn_norm", *extra_norms):
            weights.ones(f"blk.{i}.{norm}", HEAD_DIM if norm in ("attn_q_norm", "attn_k_norm") else HIDDEN)
        weights.matrix(f"blk.{i}.attn_q", HEADS * HEAD_DIM, HIDDEN)
        weights.matrix(f"blk.{i}.attn_k", KV_HEADS * HEAD_DIM, HIDDEN)
        weights.matrix(f"blk.{i}.attn_v", KV_HEADS * HEAD_DIM, HIDDEN)
        weights.matrix(f"blk.{i}.attn_output", HIDDEN, HEADS * HEAD_DIM)
        weights.matrix(f"blk.{i}.ffn_gate", FEED_FORWARD, HIDDEN)
        weights.matrix(f"blk.{i}.ffn_up", FEED_FORWARD, HIDDEN)
        weights.matrix(f"blk.{i}.ffn_down", HIDDEN, FEED_FORWARD)
    if architecture == "qwen2vl":
        for i in range(layers):
            for name, rows in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
                w.add_tensor(f"blk.{i}.attn_{name}.bias", np.zeros(rows * HEAD_DIM, np.float32))
    finish(w)


def llama(path):
    attention_model(path, "llama", 2)


def gemma3(path):
    attention_model(path, "gemma3", 4, ("post_attention_norm", "post_ffw_norm", "attn_q_norm", "attn_k_norm"), window=6)


def qwen2vl(path):
    attention_model(path, "qwen2vl", 2, rope_sections=[16, 24, 24, 0])


def deepseek2(path):
    layers, rank, rotary, plain, q_rank, v_dim = 2, 48, 16, 16, 16, 16
    w = common(path, "deepseek2", layers)
    w.add_head_count(HEADS)
    w.add_head_count_kv(1)
    w.add_key_length(rank + rotary)
    w.add_value_length(rank)
    w.add_key_length_mla(plain + rotary)
    w.add_value_length_mla(v_dim)
    w.add_q_lora_rank(q_rank)
    w.add_kv_lora_rank(rank)
    w.add_rope_dimension_count(rotary)
    w.add_leading_dense_block_count(layers)
    w.add_expert_feed_forward_length(FEED_FORWARD)
    w.add_expert_shared_count(1)
    weights = Weights(w)
    weights.matrix("token_embd", VOCABULARY, HIDDEN, 1.0)
    weights.ones("output_norm", HIDDEN)
    for i in range(layers):
        weights.ones(f"blk.{i}.attn_norm", HIDDEN)
        weights.ones(f"blk.{i}.attn_q_a_norm", q_rank)
        weights.ones(f"blk.{i}.attn_kv_a_norm", rank)
        weights.matrix(f"blk.{i}.attn_q_a", q_rank, HIDDEN)
        weights.matrix(f"blk.{i}.attn_q_b", HEADS * (plain + rotary), q_rank)
        weights.matrix(f"blk.{i}.attn_kv_a_mqa", rank + rotary, HIDDEN)
        w.add_tensor(f"blk.{i}.attn_k_b.weight", weights.random.normal(0, 0.3, (HEADS, rank, plain)).astype(np.float32))
        w.add_tensor(f"blk.{i}.attn_v_b.weight", weights.random.normal(0, 0.3, (HEADS, v_dim, rank)).astype(np.float32))
        weights.matrix(f"blk.{i}.attn_output", HIDDEN, HEADS * v_dim)
        weights.ones(f"blk.{i}.ffn_norm", HIDDEN)
        weights.matrix(f"blk.{i}.ffn_gate", FEED_FORWARD, HIDDEN)
        weights.matrix(f"blk.{i}.ffn_up", FEED_FORWARD, HIDDEN)
        weights.matrix(f"blk.{i}.ffn_down", HIDDEN, FEED_FORWARD)
    finish(w)


def mamba(path):
    inner, state, rank, kernel = 2 * HIDDEN, 4, 4, 4
    w = common(path, "mamba", 2)
    w.add_head_count(0)
    w.add_ssm_conv_kernel(kernel)
    w.add_ssm_inner_size(inner)
    w.add_ssm_state_size(state)
    w.add_ssm_time_step_rank(rank)
    weights = Weights(w)
    weights.matrix("token_embd", VOCABULARY, HIDDEN, 1.0)
    weights.ones("output_norm", HIDDEN)
    for i in range(2):
        weights.ones(f"blk.{i}.attn_norm", HIDDEN)
        weights.matrix(f"blk.{i}.ssm_in", 2 * inner, HIDDEN)
        weights.matrix(f"blk.{i}.ssm_conv1d", inner, kernel)
        w.add_tensor(f"blk.{i}.ssm_conv1d.bias", np.zeros(inner, np.float32))
        weights.matrix(f"blk.{i}.ssm_x", rank + 2 * state, inner)
        weights.matrix(f"blk.{i}.ssm_dt", inner, rank)
        w.add_tensor(f"blk.{i}.ssm_dt.bias", np.zeros(inner, np.float32))
        w.add_tensor(f"blk.{i}.ssm_a", -np.ones((inner, state), np.float32))
        w.add_tensor(f"blk.{i}.ssm_d", np.ones(inner, np.float32))
        weights.matrix(f"blk.{i}.ssm_out", HIDDEN, inner)
    finish(w)


# The engine.


class Engine:
    """One context of one model. `feed` decodes tokens of a sequence; the states are read as llama.cpp writes them."""

    def __init__(self, path, *, k="f16", v="f16", flash=True, sequences=1, unified=False):
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
        assert self.model, path
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = 256 * sequences, 64, 64, sequences
        params.n_threads = params.n_threads_batch = 1
        params.type_k, params.type_v = TYPES[k], TYPES[v]
        params.flash_attn_type = 1 if flash else 0
        params.kv_unified = unified
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        assert self.context, path
        self.memory = llama_cpp.llama_get_memory(self.context)

    def feed(self, tokens, first=0, sequence=0):
        batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, first + i, 1
            batch.seq_id[i][0], batch.logits[i] = sequence, i + 1 == len(tokens)
        assert llama_cpp.llama_decode(self.context, batch) == 0
        llama_cpp.llama_batch_free(batch)
        return self

    def remove(self, begin, end, sequence=0):
        assert llama_cpp.llama_memory_seq_rm(self.memory, sequence, begin, end)
        return self

    def state(self, sequence=0):
        size = llama_cpp.llama_state_seq_get_size(self.context, sequence)
        data = (ctypes.c_uint8 * size)()
        assert llama_cpp.llama_state_seq_get_data(self.context, data, size, sequence) == size
        return bytes(data)

    def save(self, path, tokens, sequence=0):
        ids = (ctypes.c_int32 * len(tokens))(*tokens)
        assert llama_cpp.llama_state_seq_save_file(self.context, str(path).encode(), sequence, ids, len(tokens)) > 0


PROMPT = [(7 * i + i * i) % VOCABULARY for i in range(TOKENS)]
OTHER = [(5 * i + 3) % VOCABULARY for i in range(9)]


def write(name, state):
    (HERE / f"{name}.state").write_bytes(state)


def make(folder, rotated):
    models = {}
    for build in (llama, gemma3, qwen2vl, deepseek2, mamba):
        models[build.__name__] = folder / f"{build.__name__}.gguf"
        build(models[build.__name__])

    if not rotated:  # quantised caches with llama.cpp's rotation switched off
        for t in ("q8_0", "q4_0"):
            write(f"llama.{t}.unrotated", Engine(models["llama"], k=t, v=t).feed(PROMPT).state())
        return

    for t in ("f32", "f16", "bf16"):
        write(f"llama.{t}.flash", Engine(models["llama"], k=t, v=t).feed(PROMPT).state())
        write(f"llama.{t}.transposed", Engine(models["llama"], k=t, v=t, flash=False).feed(PROMPT).state())
    for t in ("q8_0", "q4_0"):
        write(f"llama.{t}.rotated", Engine(models["llama"], k=t, v=t).feed(PROMPT).state())
    write("llama.q8_0.f16", Engine(models["llama"], k="q8_0", v="f16").feed(PROMPT).state())
    write("llama.q8_0.transposed", Engine(models["llama"], k="q8_0", v="f16", flash=False).feed(PROMPT).state())

    engine = Engine(models["llama"]).feed(PROMPT)
    engine.save(HERE / "llama.f16.file", PROMPT)
    write("llama.f16.removed", engine.remove(2, 5).remove(8, 9).state())
    write("llama.f32.removed", Engine(models["llama"], k="f32", v="f32").feed(PROMPT).remove(2, 5).remove(8, 9).state())
    write("llama.f16.empty", Engine(models["llama"]).state())
    write("llama.f16.two_streams", Engine(models["llama"], sequences=2).feed(OTHER).feed(PROMPT, 0, 1).state(1))
    unified = Engine(models["llama"], sequences=2, unified=True)
    unified.feed(PROMPT[:5]).feed(OTHER, 0, 1).feed(PROMPT[5:], 5)
    write("llama.f16.unified", unified.state())

    write("gemma3.f16.window", Engine(models["gemma3"]).feed(PROMPT).state())
    write("gemma3.q8_0.window", Engine(models["gemma3"], k="q8_0", v="q8_0").feed(PROMPT).state())
    write("qwen2vl.f16.m_rope", Engine(models["qwen2vl"]).feed(PROMPT).state())
    write("deepseek2.f16.mla", Engine(models["deepseek2"]).feed(PROMPT).state())
    write("mamba.recurrent", Engine(models["mamba"]).feed(PROMPT).state())


if __name__ == "__main__":
    if "--folder" in sys.argv:
        make(pathlib.Path(sys.argv[-1]), "LLAMA_ATTN_ROT_DISABLE" not in os.environ)
    else:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--folder", folder]
            subprocess.run(command, check=True)
            subprocess.run(command, check=True, env=os.environ | {"LLAMA_ATTN_ROT_DISABLE": "1"})
