# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's kvpress, as it is installed: scores and compression of one layer through its own classes."""

import types

import kvpress
import torch

SCORE = (None, None)  # modules and hidden states that a score does not look at


def lag_score(keys, values, sink):
    return kvpress.LagKVPress(n_sink=sink).score(*SCORE, keys, values, None, {})


def lag_kv(keys, values, keep, sink):
    press = kvpress.LagKVPress(compression_ratio=1 - keep, n_sink=sink)
    return press.compress(types.SimpleNamespace(head_dim=keys.shape[-1]), None, keys, values, None, {})


def l2_score(keys):
    return kvpress.KnormPress().score(*SCORE, keys, None, None, {})


def l2(keys, values, keep):
    press = kvpress.KnormPress(compression_ratio=1 - keep)
    return press.compress(types.SimpleNamespace(head_dim=keys.shape[-1]), None, keys, values, None, {})


class WindowVotes:
    """SnapKV's scores of queries [1, query_heads, window, head_dim]: a layer whose projection and rotation do nothing."""

    def __init__(self, queries, heads):
        _, query_heads, self.window, head_dim = queries.shape
        config = types.SimpleNamespace(num_attention_heads=query_heads, num_key_value_heads=heads)
        self.module = types.SimpleNamespace(config=config, head_dim=head_dim, q_proj=torch.nn.Identity())
        # The window is the end of a prompt, of which only its length is looked at besides.
        own = queries.transpose(1, 2).reshape(1, self.window, -1)
        self.hidden = torch.cat([own[:, :1], own], 1)
        one = torch.ones(1, self.window, head_dim, dtype=queries.dtype)
        self.rotation = {"position_embeddings": (one, torch.zeros_like(one))}

    def __call__(self, keys):
        press = kvpress.SnapKVPress(window_size=self.window)
        return press.score(self.module, self.hidden, keys, None, None, self.rotation)
