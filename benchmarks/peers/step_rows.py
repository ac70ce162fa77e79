# SPDX-License-Identifier: Apache-2.0
"""Rows of what a decoding step does."""

import ctypes

import torch

import ours
import torch_user
from work import GROUP, HEAD_DIM, HEADS, KEEP, OnCaches, Work, require, require_same_kept


class LagStep(OnCaches):
    """One partition falls due at the end of a cache of `tokens`; the rows before it are not looked at."""

    def set_up(self):
        super().set_up()
        self.first = self.tokens - 2 * torch_user.LAG
        self.quota = int(KEEP * torch_user.LAG)

    def restored(self, contender):
        """A contender that changes its cache; the row's end is put back, and the prompt is not touched again."""
        result = contender()
        for x, original in zip(self.caches.split(self.caches.copies[self.caches.at]), self.originals()):
            x[:, :, self.first :] = original[:, :, self.first :]
        return result

    def originals(self):
        return self.caches.split(self.caches.original)

    def peer(self, keys, values):
        return torch_user.lag_kv_step(keys, values, self.first, KEEP)

    def eager(self):
        return self.restored(super().eager)

    def compiled(self):
        return self.restored(super().compiled)

    def floor(self):
        return self.floor_of_reading(2 * 2 * torch_user.LAG * HEADS * HEAD_DIM * self.dtype.itemsize)

    def ours(self):
        return self.restored(self.step)

    def step(self):
        keys, values = self.caches.next()
        kept = torch.empty(HEADS, self.first + self.quota + torch_user.LAG, dtype=torch.int32)
        ms = self.library.lag_kv_step(ours.layer(keys, values), self.first, KEEP, kept)
        return ms, kept[:, self.first : self.first + self.quota] - self.first

    def check(self):
        mine = self.ours()[1]
        end = [x[:, :, self.first - torch_user.SINK :] for x in self.originals()]
        for theirs in self.answers_of_peers():
            require_same_kept(mine, theirs[0], torch_user.lag_score(*end)[0, :, 0], "the step")


class H2OStep(Work):
    """A token has come: its query's attention is added up, and one token goes, in each head. Caches stay as they are in
    the processor's cache, as PyTorch's do."""

    def set_up(self):
        self.generator = torch.Generator().manual_seed(5)
        make = lambda *shape: torch.randn(*shape, generator=self.generator).to(self.dtype)
        shape = (1, HEADS, self.tokens + 1, HEAD_DIM)
        self.stream = ctypes.c_void_p()
        self.mine = [make(*shape), make(*shape)]
        queries = make(1, HEADS * GROUP, self.tokens, HEAD_DIM)
        prompt = ours.layer(*self.mine, queries, tokens=self.tokens)
        kept = torch.empty(HEADS, self.tokens, dtype=torch.int32)
        self.library.h2o_step(prompt, self.tokens, self.stream, kept)
        hidden = torch.ones(self.tokens, self.tokens, dtype=torch.bool).triu(1)
        history = [
            torch_user.column_sums_tuned(
                queries[:, h * GROUP : (h + 1) * GROUP].float(), self.mine[0][:, h : h + 1, : self.tokens].float(), hidden
            )
            for h in range(HEADS)
        ]
        self.history = torch.stack(history, 1)
        self.caches = [x.clone() for x in self.mine]
        self.query = make(1, HEADS * GROUP, 1, HEAD_DIM)

    def inputs(self):
        return *self.caches, self.history, self.query.view(1, HEADS, GROUP, HEAD_DIM)

    def peer(self, keys, values, history, queries):
        return torch_user.h2o_step(keys, values, history, queries)

    def floor(self):
        keys = self.caches[0]
        size = keys.numel() * keys.dtype.itemsize // 2048 * 2048
        return self.library.read_floor(keys, size, self.threads), None

    def ours(self):
        kept = torch.empty(HEADS, self.tokens, dtype=torch.int32)
        return self.library.h2o_step(ours.layer(*self.mine, self.query), self.tokens, self.stream, kept), kept

    def check(self):
        """The first token to go; the peers start from the same prompt."""
        kept = self.ours()[1]
        gone = kept.sum(-1) - torch.arange(self.tokens).sum()  # 1 for each token after the one that went
        for contender in (self.peer, self.compiled_peer):
            keys, values, history, queries = (x.clone() for x in self.inputs())
            _, victim = contender(keys, values, history, queries)
            require(torch.equal(self.tokens - gone, victim.flatten()), "another token goes")
            require(torch.equal(keys[:, :, : self.tokens], self.mine[0][:, :, : self.tokens]), "other rows stay")
