// SPDX-License-Identifier: Apache-2.0
/// Planes as kernels see them: one plane is an argument of the launch; so are the planes of a batch, as many as fit.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <type_traits>

#include <tightkv/cuda/launch.cuh>
#include <tightkv/view/batch.hpp>

namespace tightkv::detail {

/// Some neighbouring planes of a batch, by value; heads keep their numbers.
template <class P>
struct batch_part {
  static constexpr int most = 64;
  static_assert(std::is_trivially_copyable_v<P>, "tightkv: a plane must be trivially copyable to go to a GPU");
  using value_type = typename P::value_type;

  alignas(P) unsigned char planes[most * sizeof(P)];
  int first_head;
  int heads_per_plane;

  TIGHTKV_HD auto head(int h) const {
    int const i = h - first_head;
    return reinterpret_cast<P const*>(planes)[i / heads_per_plane].head(i % heads_per_plane);
  }
  TIGHTKV_HD int head_dim() const { return reinterpret_cast<P const*>(planes)->head_dim(); }
};

/// How many heads one launch can serve.
template <class P>
int heads_at_once(P const&) {
  return std::numeric_limits<int>::max();
}
template <class P>
int heads_at_once(batch<P> const& b) {
  return batch_part<P>::most * std::max(1, b.heads_per_layer());
}

/// The planes that hold heads [first, first + heads).
template <class P>
P const& part_of(P const& rows, int, int) {
  return rows;
}
template <class P>
batch_part<P> part_of(batch<P> const& b, int first, int heads) {
  batch_part<P> part;
  part.heads_per_plane = std::max(1, b.heads_per_layer());
  int const begin = first / part.heads_per_plane;
  int const end = (first + heads - 1) / part.heads_per_plane + 1;
  part.first_head = begin * part.heads_per_plane;
  expects(end - begin <= batch_part<P>::most, "cuda", "batches of keys and values must have heads of the same layers");
  std::memcpy(part.planes, static_cast<void const*>(b.planes().data() + begin),
              static_cast<std::size_t>(end - begin) * sizeof(P));
  return part;
}

/// Calls `f(first, heads, rows...)` for as many heads at a time as a launch can take: usually once.
template <class F, class... P>
void each_part(F const& f, P const&... rows) {
  int const all = std::min({rows.heads()...});
  int const step = std::min({heads_at_once(rows)...});
  for (int first = 0; first < all; first += step) {
    int const heads = std::min(step, all - first);
    f(first, heads, part_of(rows, first, heads)...);
    if (step > all - first) break;
  }
}

}  // namespace tightkv::detail
