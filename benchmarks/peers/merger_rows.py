# SPDX-License-Identifier: Apache-2.0
"""Rows of what merging heads does to the rows of a layer. Bound by arithmetic: inputs need not rotate."""

import torch

import ours
import torch_user
from work import HEAD_DIM, HEADS, Work, require

SIZE = HEADS * HEAD_DIM


class OnRows(Work):
    """Keys of all heads side by side, as they are before RoPE."""

    def set_up(self):
        generator = torch.Generator().manual_seed(6)
        self.rows = torch.randn(self.tokens, SIZE, generator=generator).to(self.dtype)
        self.matrix = torch.randn(SIZE, HEAD_DIM, generator=generator).to(self.dtype)

    def layer(self):
        return ours.layer(self.rows.view(1, HEADS, self.tokens, HEAD_DIM))

    def floor(self):
        return self.library.multiply_add_floor(self.products(), self.threads), None

    def require_near(self, mine, theirs, magnitude, rounding):
        error = ((mine.double() - theirs.double()).abs() / magnitude.double().clamp_min(1e-30)).max().item()
        require(error <= rounding, f"a sum differs from PyTorch's by {error:.2g} of its products")


class GramUpdate(OnRows):
    """The sums that all mergers start from. A Gram matrix is symmetric: the floor is half of its products."""

    def set_up(self):
        super().set_up()
        self.sums = [torch.zeros(SIZE, SIZE, dtype=torch.double), torch.zeros(SIZE, dtype=torch.double)]
        self.sums_of_peers = [x.clone() for x in self.sums]

    def inputs(self):
        return self.rows, *self.sums_of_peers

    def peer(self, rows, products, sums):
        return torch_user.gram_update(rows, products, sums)

    def products(self):
        return 0.5 * self.tokens * SIZE * (SIZE + 1)

    def ours(self):
        return self.library.gram_update(self.layer(), *self.sums), self.sums[0]

    def check(self):
        magnitude = self.rows.float().abs().mT @ self.rows.float().abs()
        for peer in (self.peer, self.compiled_peer):
            for x in [*self.sums, *self.sums_of_peers]:
                x.zero_()
            self.require_near(self.ours()[1], peer(*self.inputs()), magnitude, 1e-5)


class Projection(OnRows):
    """Keys of all heads become those of one, while a model runs. PyTorch's matrix is of the rows' type; ours has the same
    numbers as floats."""

    def set_up(self):
        super().set_up()
        self.floats = self.matrix.float()  # here, since PyTorch's threads look for more work for a while

    def inputs(self):
        return self.rows, self.matrix

    def peer(self, rows, matrix):
        return torch_user.project(rows, matrix)

    def products(self):
        return float(self.tokens * SIZE * HEAD_DIM)

    def ours(self):
        out = torch.empty(self.tokens, HEAD_DIM, dtype=self.dtype)
        return self.library.project_heads(self.layer(), self.floats, out), out

    def check(self):
        magnitude = self.rows.float().abs() @ self.floats.abs()
        # Both round their sums to the rows' type.
        rounding = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}[self.dtype]
        for theirs in self.answers_of_peers():
            self.require_near(self.ours()[1], theirs, magnitude, rounding)
