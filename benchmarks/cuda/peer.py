# SPDX-License-Identifier: Apache-2.0
"""The same work in eager PyTorch on the GPU, as kvpress writes it: one layer after another. One JSON object a line.

    python3 benchmarks/cuda/peer.py [layers] [tokens]
"""
import json
import statistics
import sys

import torch

layers = int(sys.argv[1]) if len(sys.argv) > 1 else 32
tokens = int(sys.argv[2]) if len(sys.argv) > 2 else 32768
heads, head_dim, lag, sink, keep = 8, 128, 128, 16, 0.25


def timed(work, repetitions=5):
    us = []
    for i in range(repetitions + 2):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        torch.cuda.synchronize()
        if i >= 2:
            us.append(begin.elapsed_time(end) * 1e3)
    return statistics.median(us)


def spread(x):
    """LagKV's score of one tensor, [heads, tokens, head_dim]: softmax of how unevenly the channels lie."""
    parts = x[:, sink : sink + (x.shape[1] - sink) // lag * lag].unflatten(1, (-1, lag))
    reference, judged = parts[:, 1:], parts[:, :-1]
    low = reference.min(dim=2, keepdim=True).values
    high = reference.max(dim=2, keepdim=True).values
    return ((judged - low) / (high - low)).std(dim=-1).softmax(dim=-1)


def lag_scores(k, v):
    return spread(k) + spread(v)


def gathered(x, kept):
    return x.gather(1, kept.unsqueeze(-1).expand(-1, -1, head_dim))


def lag_kv(k, v):
    scores = lag_scores(k, v)
    best = scores.topk(int(lag * keep), dim=-1).indices
    best = best + sink + lag * torch.arange(scores.shape[1], device=k.device)[None, :, None]
    begin = torch.arange(sink, device=k.device).expand(heads, -1)
    end = torch.arange(sink + scores.shape[1] * lag, tokens, device=k.device).expand(heads, -1)
    kept = torch.cat([begin, best.flatten(1).sort(dim=1).values, end], dim=1)
    return gathered(k, kept), gathered(v, kept)


def l2_norm(k, v):
    kept = (-k.norm(dim=-1)).topk(int(tokens * keep), dim=-1).indices
    return gathered(k, kept), gathered(v, kept)


def main():
    if not torch.cuda.is_available():
        sys.exit("peer.py: PyTorch finds no GPU")
    print(json.dumps({"device": torch.cuda.get_device_name(), "torch": torch.__version__}))
    torch.manual_seed(1)
    keys = [torch.randn(heads, tokens, head_dim, device="cuda", dtype=torch.bfloat16) for _ in range(layers)]
    values = [torch.randn_like(k) for k in keys]

    def every_layer(f):
        return lambda: [f(k, v) for k, v in zip(keys, values)]

    shape = f"{layers} x {heads} x {tokens} x {head_dim}"
    for name, work in {
        "row_norms": every_layer(lambda k, v: -k.norm(dim=-1)),
        "lag_scores, lag 128": every_layer(lag_scores),
        "lag_kv, whole compression": every_layer(lag_kv),
        "l2_norm, whole compression": every_layer(l2_norm),
    }.items():
        with torch.no_grad():
            print(json.dumps({"name": name, "shape": shape, "us": round(timed(work), 1)}), flush=True)
    for n in (32768, 131072):
        scores = torch.rand(256, n, device="cuda")
        us = timed(lambda: scores.topk(n // 4, dim=-1).indices)
        print(json.dumps({"name": "select_top_k, a quarter", "shape": f"256 rows of {n}", "us": round(us, 1)}))


main()
