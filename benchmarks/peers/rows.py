# SPDX-License-Identifier: Apache-2.0
"""The rows that are measured: each has contenders (ours, floor, eager, compiled, and here
and there tuned and kvpress), which all do the same work on the same memory and return milliseconds, and a check that their answers agree.
"""

import ctypes
import math
import time

import torch

import kvpress_user
import ours
import torch_user

HEADS, GROUP, HEAD_DIM, KEEP = 8, 4, 128, 0.25
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
ROTATED = 256 << 20  # bytes that inputs go through before the first come again


def memory(elements, dtype):
    """Memory in huge pages where the system gives them, as the other benchmarks have it, touched beforehand."""
    huge = 2 << 20
    size = elements * dtype.itemsize
    raw = torch.empty(size + 2 * huge, dtype=torch.uint8)
    skip = -raw.data_ptr() % huge
    ctypes.CDLL(None).madvise(ctypes.c_void_p(raw.data_ptr() + skip), ctypes.c_size_t(-(-size // huge) * huge), 14)
    return raw[skip : skip + size].zero_().view(dtype)


BUSY_WORK = torch.zeros(1 << 18)


def wake_threads():
    """PyTorch's threads are awake when the clock starts, and on processors of their own, as ours are."""
    end = time.perf_counter() + 0.006
    while torch.get_num_threads() > 1 and time.perf_counter() < end:
        BUSY_WORK.add_(1)


def timed(function, *arguments):
    wake_threads()
    start = time.perf_counter()
    result = function(*arguments)
    return 1e3 * (time.perf_counter() - start), result


def compiled(function):
    return torch.compile(function, dynamic=False, fullgraph=True)


def require(right, what):
    if not right:
        raise SystemExit(f"not timed: {what}")


def require_near(got, want, what, tolerance=1e-4):
    error = ((got.double() - want.double()).abs() / want.double().abs().clamp_min(1e-30)).max().item()
    require(error <= tolerance, f"{what} differs from eager PyTorch's by {error:.2g}")


def require_same_kept(got, want, scores, what):
    """Kept tokens [heads, count], ascending; where they differ, the scores [heads, tokens] must as good as tie."""
    for h, (a, b) in enumerate(zip(got.tolist(), want.tolist())):
        require(len(a) == len(b), f"{what}: {len(a)} tokens and {len(b)}")
        only_a, only_b = sorted(set(a) - set(b)), sorted(set(b) - set(a))
        for s, t in zip(only_a, only_b):
            tie = math.isclose(scores[h, s].item(), scores[h, t].item(), rel_tol=1e-5)
            require(tie, f"{what}: head {h} keeps token {s}, PyTorch {t}")


class Caches:
    """Keys and values of a layer in so many copies that a processor's cache does not hold them, one after another."""

    def __init__(self, tokens, dtype):
        self.shape = (1, HEADS, tokens, HEAD_DIM)
        self.elements = math.prod(self.shape)
        self.bytes = self.elements * dtype.itemsize  # of keys, or of values
        generator = torch.Generator().manual_seed(1)
        self.original = torch.randn(2 * self.elements, generator=generator).to(dtype)
        self.copies = [memory(2 * self.elements, dtype) for _ in range(max(2, -(-ROTATED // (2 * self.bytes))))]
        for copy in self.copies:
            copy.copy_(self.original)
        self.elsewhere = memory(2 * self.elements, dtype)
        self.at = 0

    def split(self, copy):
        return copy[: self.elements].view(self.shape), copy[self.elements :].view(self.shape)

    def next(self):
        self.at = (self.at + 1) % len(self.copies)
        return self.split(self.copies[self.at])

    def restore(self):
        """What was changed in place."""
        self.copies[self.at].copy_(self.original)


class Work:
    """A row's contenders and its check. A peer is a function of what `inputs` gives."""

    peer = None
    tuned_peer = None
    kvpress_peer = None

    def __init__(self, library, dtype, tokens):
        self.library = library
        self.dtype = dtype
        self.tokens = tokens
        self.threads = torch.get_num_threads()
        self.set_up()
        self.compiled_peer = compiled(self.peer)

    def eager(self):
        return timed(self.peer, *self.inputs())

    def compiled(self):
        return timed(self.compiled_peer, *self.inputs())

    def tuned(self):
        return timed(self.tuned_peer, *self.inputs())

    def kvpress(self):
        return timed(self.kvpress_peer, *self.inputs())

    def contenders(self):
        names = ["ours", "floor", "eager", "compiled"]
        names += ["tuned"] if self.tuned_peer else []
        names += ["kvpress"] if self.kvpress_peer else []
        return {name: getattr(self, name) for name in names}

    def answers_of_peers(self):
        """Of those whose answers are in the form of `peer`'s."""
        return [contender()[1] for name, contender in self.contenders().items() if name in ("eager", "compiled", "tuned")]


class OnCaches(Work):
    def set_up(self):
        self.caches = Caches(self.tokens, self.dtype)

    def inputs(self):
        return self.caches.next()

    def floor_of_reading(self, what):
        keys, _ = self.caches.next()
        return self.library.read_floor(keys, what, self.threads), None

    def floor_of_copying(self, rows):
        keys, _ = self.caches.next()
        size = 2 * rows * HEAD_DIM * self.dtype.itemsize
        return self.library.copy_floor(keys, self.caches.elsewhere, size, self.threads), None


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
        self.row_lse = torch_user.logits(self.queries, self.keys).masked_fill(self.hidden, -math.inf).logsumexp(-1)

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


# What is measured, in the order of the table: work, types, tokens.
ALL = tuple(DTYPES)
ROWS = {
    "LagKV end to end": (LagKV, ALL, (8192, 32768)),
    "L2 end to end": (L2, ALL, (8192, 32768)),
    "LagKV score": (LagScore, ALL, (8192, 32768)),
    "L2 score": (L2Score, ALL, (8192,)),
    "select 32k of 25 %": (Select, ("f32",), (32768,)),
    "H2O column sums": (ColumnSums, ("f32",), (2048,)),
    "H2O column sums, log-sum-exp given": (ColumnSumsOfLse, ("f32",), (2048,)),
    "SnapKV window scores": (WindowVotes, ("f32", "bf16"), (8192, 32768)),
    "compaction in place": (Compaction, ALL, (8192, 32768)),
    "LagKV decode step, one partition": (LagStep, ("f32", "bf16"), (8192,)),
    "H2O decode step": (H2OStep, ("f32",), (2048,)),
}
