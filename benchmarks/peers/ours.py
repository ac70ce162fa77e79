# SPDX-License-Identifier: Apache-2.0
"""The functions of ours.cpp and floors.cpp: each works on PyTorch's memory, and returns milliseconds."""

import ctypes
import pathlib

import torch

TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}


class Layer(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("keys", "values", "queries", "row_lse")] + [
        (name, ctypes.c_int) for name in ("heads", "tokens", "capacity", "head_dim", "query_heads", "window", "type", "threads")
    ]


def address(tensor):
    if tensor is None:
        return None
    assert tensor.is_contiguous()
    return tensor.data_ptr()


def layer(keys, values=None, queries=None, row_lse=None, tokens=None):
    """Keys [1, heads, capacity, head_dim], all of them in use unless told; queries, log-sum-exp per query head."""
    _, heads, capacity, head_dim = keys.shape
    _, query_heads, window, _ = queries.shape if queries is not None else (1, 0, 0, 0)
    return Layer(
        *map(address, (keys, values, queries, row_lse)),
        *(heads, capacity if tokens is None else tokens, capacity, head_dim),
        *(query_heads, window, TYPES[keys.dtype], torch.get_num_threads()),
    )


class Library:
    """`library.NAME(...)` calls NAME with tensors as addresses, and returns the milliseconds that it took."""

    def __init__(self, path):
        self._library = ctypes.CDLL(str(pathlib.Path(path).resolve()))

    def __getattr__(self, name):
        function = getattr(self._library, name)
        function.restype = ctypes.c_double

        def call(*arguments):
            return function(*map(as_c, arguments))

        return call


def as_c(x):
    if isinstance(x, torch.Tensor):
        return ctypes.c_void_p(address(x))
    if isinstance(x, Layer):
        return ctypes.byref(x)
    if isinstance(x, ctypes.c_void_p):
        return ctypes.byref(x)  # written to
    return ctypes.c_double(x) if isinstance(x, float) else ctypes.c_ssize_t(x)
