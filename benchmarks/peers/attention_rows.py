# SPDX-License-Identifier: Apache-2.0
"""Rows whose scores are attention that keys get."""

import math

import torch

import kvpress_user
import ours
import torch_user
from work import GROUP, HEAD_DIM, HEADS, Work, require_near


class Attention(Work):
    """Bound by arithmetic: inputs need not rotate."""

    heads = HEADS

    def set_up(self):
        generator = torch.Generator().manual_seed(4)
        make = lambda *shape: torch.randn(*shape, generator=generator).to(self.dtype)
        self.keys = make(1, self.heads, self.tokens, HEAD_DIM)
        self.queries = make(1, self.heads * GROUP, self.window(), HEAD_DIM)
        self.row_lse = None

    def layer(self):
        return ours.layer(self.keys, None, self.queries, self.row_lse)

    def floor(self):
        visible = self.tokens - (self.window() - 1) / 2
        products = float(self.heads * GROUP * self.window() * visible * HEAD_DIM)
        return self.library.multiply_add_floor(products, self.threads), None

    def check(self):
        mine = self.ours()[1][:, : self.judged()]
        # In half and bfloat16, PyTorch's products are rounded to that type; ours are not.
        tolerance = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.5}[self.dtype]
        for theirs in self.answers_of_peers() + ([self.kvpress()[1]] if self.kvpress_peer else []):
            require_near(mine, theirs.view(self.heads, -1)[:, : self.judged()], "the attention", tolerance)


class ColumnSums(Attention):
    """What each token of one KV head received from all queries of its four query heads."""

    heads = 1

    def set_up(self):
        super().set_up()
        self.hidden = torch.ones(self.tokens, self.tokens, dtype=torch.bool).triu(1)

    def window(self):
        return self.tokens

    def judged(self):
        return self.tokens

    def inputs(self):
        return self.queries, self.keys

    def peer(self, queries, keys):
        return torch_user.column_sums(queries, keys, self.hidden)

    def tuned_peer(self, queries, keys):
        return torch_user.column_sums_tuned(queries, keys, self.hidden)

    def ours(self):
        sums = torch.empty(self.heads, self.tokens)
        return self.library.column_sums(self.layer(), sums), sums


class ColumnSumsOfLse(ColumnSums):
    def set_up(self):
        super().set_up()
        logits = torch_user.logits(self.queries.float(), self.keys.float())
        self.row_lse = logits.masked_fill(self.hidden, -math.inf).logsumexp(-1)

    def peer(self, queries, keys):
        return torch_user.column_sums_of_lse(queries, keys, self.hidden, self.row_lse)

    tuned_peer = None


class WindowVotes(Attention):
    def set_up(self):
        super().set_up()
        self.grouped = self.queries.view(1, self.heads, GROUP, self.window(), HEAD_DIM)
        self.hidden = torch.ones(self.window(), self.window(), dtype=torch.bool).triu(1)
        self.press = kvpress_user.WindowVotes(self.queries, self.heads)

    def window(self):
        return 64

    def judged(self):
        return self.tokens - self.window()

    def inputs(self):
        return self.grouped, self.keys

    def peer(self, queries, keys):
        return torch_user.window_votes(queries, keys, self.hidden)

    def kvpress_peer(self, _, keys):
        return self.press(keys)

    def ours(self):
        scores = torch.empty(self.heads, self.tokens)
        return self.library.window_votes(self.layer(), scores), scores
