# SPDX-License-Identifier: Apache-2.0
"""What every row is made of: memory as the other benchmarks have it, the clock, checks, and contenders that all do the same work
on the same memory and return milliseconds."""

import ctypes
import math
import time

import torch

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
