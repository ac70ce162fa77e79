// SPDX-License-Identifier: Apache-2.0
/// Many planes seen as one: every layer and every sequence in a single call.
#pragma once

#include <span>

#include <tightkv/core/config.hpp>
#include <tightkv/view/plane.hpp>

namespace tightkv {

/// The heads of several planes, one plane after another: head `i * heads_per_layer() + h` is head h of plane i. Each
/// has its own memory and its own lengths.
///
///     std::vector<...> layers;                       // one plane per (layer, sequence)
///     auto const keys = tightkv::batch(std::span(layers));
///
/// All planes must have the same number of heads and the same head_dim. Needs the planes to outlive it.
template <kv_plane P>
class batch {
 public:
  using value_type = typename P::value_type;
  using memory = typename P::memory;

  explicit batch(std::span<P const> planes) : planes_(planes.data()), count_(static_cast<int>(planes.size())) {
    for (auto const& p : planes) {
      detail::expects(p.heads() == planes[0].heads(), "batch", "all planes must have the same number of heads", "heads",
                      p.heads(), "first", planes[0].heads());
      detail::expects(p.head_dim() == planes[0].head_dim(), "batch", "all planes must have the same head_dim",
                      "head_dim", p.head_dim(), "first", planes[0].head_dim());
    }
  }
  template <class Range>
  requires(std::convertible_to<Range const&, std::span<P const>>) explicit batch(Range const& planes)
      : batch(std::span<P const>(planes)) {}

  TIGHTKV_HD int heads() const noexcept { return count_ * heads_per_layer(); }
  TIGHTKV_HD int heads_per_layer() const noexcept { return count_ == 0 ? 0 : planes_[0].heads_per_layer(); }
  TIGHTKV_HD int tokens(int h) const noexcept { return planes_[h / heads_per_layer()].tokens(h % heads_per_layer()); }
  TIGHTKV_HD int head_dim() const noexcept { return count_ == 0 ? 1 : planes_[0].head_dim(); }
  TIGHTKV_HD auto head(int h) const noexcept { return planes_[h / heads_per_layer()].head(h % heads_per_layer()); }
  std::span<P const> planes() const noexcept { return {planes_, static_cast<std::size_t>(count_)}; }

 private:
  P const* planes_;
  int count_;
};

template <class Range>
batch(Range const&) -> batch<typename Range::value_type>;
template <class P, std::size_t N>
batch(std::span<P, N>) -> batch<std::remove_const_t<P>>;

}  // namespace tightkv
