# SPDX-License-Identifier: Apache-2.0
"""Rows that go over a whole cache once: scores, selections, compaction, and methods from end to end."""

import torch

import kvpress_user
import ours
import torch_user
from work import HEADS, KEEP, OnCaches, Work, memory, require, require_near, require_same_kept


class EndToEnd(OnCaches):
    """Score, select, compact; ours in place, the peers into new tensors."""

    def ours(self):
        keys, values = self.caches.next()
        kept = torch.empty(HEADS, self.count, dtype=torch.int32)
        ms = getattr(self.library, self.name)(ours.layer(keys, values), KEEP, kept)
        result = keys[:, :, : self.count].clone(), values[:, :, : self.count].clone(), kept
        self.caches.restore()
        return ms, result

    def check(self):
        keys, values, kept = self.ours()[1]
        original = self.caches.split(self.caches.original)
        scores = self.scores(*original)
        for theirs in self.answers_of_peers():
            require_same_kept(kept, theirs[2][0], scores, self.name)
            require(theirs[0].shape == keys.shape, f"{self.name}: shapes")
        index = kept.long().unsqueeze(0)
        for mine, before in zip((keys, values), original):
            require(torch.equal(mine, torch_user.gather(before, index)), f"{self.name}: rows are not the kept ones")


class LagKV(EndToEnd):
    name = "lag_kv_end_to_end"

    def set_up(self):
        super().set_up()
        judged = (self.tokens - torch_user.SINK) // torch_user.LAG - 1
        self.count = self.tokens - judged * int((1 - KEEP) * torch_user.LAG)

    def peer(self, keys, values):
        return torch_user.lag_kv(keys, values, KEEP)

    def tuned_peer(self, keys, values):
        return torch_user.lag_kv_tuned(keys, values, KEEP)

    def kvpress_peer(self, keys, values):
        return kvpress_user.lag_kv(keys, values, KEEP, torch_user.SINK)

    def floor(self):
        return self.floor_of_reading(2 * self.caches.bytes)

    def scores(self, keys, values):
        score = torch_user.lag_score(keys, values).flatten(2)[0]
        return torch.nn.functional.pad(score, (torch_user.SINK, self.tokens - score.shape[1]))


class L2(EndToEnd):
    name = "l2_end_to_end"

    def set_up(self):
        super().set_up()
        self.count = int(KEEP * self.tokens)

    def peer(self, keys, values):
        return torch_user.l2(keys, values, KEEP)

    def kvpress_peer(self, keys, values):
        return kvpress_user.l2(keys, values, KEEP)

    def floor(self):
        return self.floor_of_reading(self.caches.bytes)[0] + self.floor_of_copying(HEADS * self.count)[0], None

    def scores(self, keys, _):
        return torch_user.l2_score(keys)[0]


class LagScore(OnCaches):
    def peer(self, keys, values):
        return torch_user.lag_score(keys, values)

    def tuned_peer(self, keys, values):
        return torch_user.lag_score_tuned(keys, values)

    def kvpress_peer(self, keys, values):
        return kvpress_user.lag_score(keys, values, torch_user.SINK)

    def floor(self):
        return self.floor_of_reading(2 * self.caches.bytes)

    def ours(self):
        keys, values = self.caches.next()
        scores = torch.empty(HEADS, self.tokens)
        return self.library.lag_score(ours.layer(keys, values), scores), scores

    def check(self):
        mine = self.ours()[1]
        for theirs in self.answers_of_peers():
            judged = slice(torch_user.SINK, torch_user.SINK + theirs[0, 0].numel())
            require_near(mine[:, judged], theirs.flatten(2)[0], "the score")
        mine = mine[:, judged]
        ranks = mine.view_as(theirs).argsort(-1).argsort(-1).flatten()
        kvpress = (self.kvpress()[1][..., judged].float() * torch_user.LAG).round().flatten()
        if self.dtype == torch.float32:  # it computes in the type of the cache
            require((ranks != kvpress).float().mean() < 1e-3, "ranks are not kvpress's")


class L2Score(OnCaches):
    def inputs(self):
        return self.caches.next()[:1]

    def peer(self, keys):
        return torch_user.l2_score(keys)

    def kvpress_peer(self, keys):
        return kvpress_user.l2_score(keys)

    def floor(self):
        return self.floor_of_reading(self.caches.bytes)

    def ours(self):
        scores = torch.empty(HEADS, self.tokens)
        return self.library.l2_score(ours.layer(*self.inputs()), scores), scores

    def check(self):
        mine = self.ours()[1]
        for theirs in [*self.answers_of_peers(), self.kvpress()[1]]:
            require_near(mine, theirs[0], "the norm")


class Compaction(OnCaches):
    """A random quarter of the rows."""

    def set_up(self):
        super().set_up()
        self.count = int(KEEP * self.tokens)
        order = torch.rand(1, HEADS, self.tokens, generator=torch.Generator().manual_seed(2)).argsort(-1)
        self.kept = order[..., : self.count].sort(-1).values
        self.kept_of_ours = self.kept.int()

    def peer(self, keys, values):
        return torch_user.compaction(keys, values, self.kept)

    def floor(self):
        return self.floor_of_copying(HEADS * self.count)

    def ours(self):
        keys, values = self.caches.next()
        ms = self.library.compaction(ours.layer(keys, values), self.kept_of_ours, self.count)
        result = keys[:, :, : self.count].clone(), values[:, :, : self.count].clone()
        self.caches.restore()
        return ms, result

    def check(self):
        mine = self.ours()[1]
        for theirs in self.answers_of_peers():
            require(all(map(torch.equal, mine, theirs)), "the rows differ")


class Select(Work):
    """The best quarter of each head's scores, in order; other scores every time, as a branch predictor learns."""

    def set_up(self):
        size = HEADS * self.tokens
        scores = memory((64 << 20) // 4, torch.float32).normal_(generator=torch.Generator().manual_seed(3))
        self.scores = [part.view(HEADS, self.tokens) for part in scores.split(size)]
        self.at = 0
        self.count = int(KEEP * self.tokens)

    def inputs(self):
        self.at = (self.at + 1) % len(self.scores)
        return self.scores[self.at : self.at + 1]

    def peer(self, scores):
        return torch_user.best(scores, self.count)

    def floor(self):
        scores = self.inputs()[0]
        return self.library.read_floor(scores, 4 * scores.numel(), self.threads), None

    def ours(self):
        scores = self.inputs()[0]
        kept = torch.empty(HEADS, self.count, dtype=torch.int32)
        layer = ours.layer(scores.view(1, HEADS, self.tokens, 1))
        return self.library.select_best(layer, scores, self.count, kept), kept

    def check(self):
        for at in range(8):
            answers = []
            for contender in (self.ours, self.eager, self.compiled):
                self.at = at
                answers.append(contender()[1])
            for theirs in answers[1:]:
                require_same_kept(answers[0], theirs, self.scores[self.at], "select")
