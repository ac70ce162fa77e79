// SPDX-License-Identifier: Apache-2.0
/// Device dispatch: `kernel<Op, Exec>::run(...)` is how `Op` is carried out by `Exec`.
///
/// An op checks its arguments once, for every device; a kernel trusts them. There is no fallback: a pair that nobody
/// wrote does not compile, so two translation units can never disagree about what a call does.
#pragma once

namespace tightkv {

template <class Op, class Exec>
struct kernel {
  static_assert(sizeof(Op) == 0,
                "tightkv: this operation has no kernel for this executor. "
                "For tightkv::cuda, include <tightkv/cuda.cuh> (or the operation's own .cuh).");
};

}  // namespace tightkv
