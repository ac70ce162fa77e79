// SPDX-License-Identifier: Apache-2.0
/// Plans whose kept tokens are in device memory.
#pragma once

#include <cstddef>
#include <numeric>
#include <span>
#include <vector>

#include <tightkv/core/plan.hpp>
#include <tightkv/cuda/per_head.cuh>

namespace tightkv {
namespace detail {

/// What a kernel sees of a plan.
struct device_plan {
  int* kept;
  int* nans;  // per head
  per_head<int> before;
  per_head<int> after;
  std::ptrdiff_t const* offsets;  // null where all heads keep the same number

  __device__ int* kept_of(int h) const {
    return kept + (offsets == nullptr ? static_cast<std::ptrdiff_t>(h) * after.same : load(offsets + h));
  }
};

}  // namespace detail

/// As `plan`, but the kept tokens are in device memory, where `compact` and `gather` read them; the lengths, which the
/// budget fixes, are on the host. `to_host` makes a `plan` of it.
template <>
class basic_plan<device_memory> : public plan_shape {
 public:
  basic_plan() = default;
  basic_plan(cuda const& ex, std::span<int const> before, std::span<int const> after)
      : plan_shape(before, after, ex.host),
        kept_(ex, static_cast<std::size_t>(kept_in_all())),
        nans_(ex, before.size()),
        before_(ex, before),
        after_(ex, after) {
    detail::set_bytes(ex, nans_.data(), 0, nans_.bytes());
    if (after_.view().table == nullptr) return;
    offsets_ = detail::device_array<std::ptrdiff_t>(ex, after.size());
    detail::send(ex, offsets().first(after.size()), offsets_.data());
  }

  /// Kept tokens of all heads, one list after another, in device memory.
  int const* kept_data() const noexcept { return kept_.data(); }
  /// NaN scores of each head, in device memory.
  int const* nan_counts() const noexcept { return nans_.data(); }
  /// To be added to what the device counted.
  std::ptrdiff_t nan_scores = 0;

  detail::device_plan device() const noexcept {
    return {kept_.data(), nans_.data(), before_.view(), after_.view(), offsets_.data()};
  }

 private:
  detail::device_array<int> kept_;
  detail::device_array<int> nans_;
  detail::head_table<int> before_;
  detail::head_table<int> after_;
  detail::device_array<std::ptrdiff_t> offsets_;
};

inline basic_plan<device_memory> make_plan(cuda const& ex, std::span<int const> before, std::span<int const> after) {
  return {ex, before, after};
}

/// A copy on the host. Waits for the stream.
inline plan to_host(cuda const& ex, basic_plan<device_memory> const& p) {
  plan copy(p.lengths_before(), p.lengths(), ex.host);
  auto const heads = static_cast<std::size_t>(p.heads());
  std::pmr::vector<int> nans(heads, 0, ex.host);
  auto const kept_bytes = sizeof(int) * static_cast<std::size_t>(p.kept_in_all());
  if (heads > 0) {
    detail::copy_bytes(ex, copy.kept(0).data(), p.kept_data(), kept_bytes, cudaMemcpyDeviceToHost);
    detail::copy_bytes(ex, nans.data(), p.nan_counts(), sizeof(int) * heads, cudaMemcpyDeviceToHost);
    ex.wait();
  }
  copy.nan_scores = std::accumulate(nans.begin(), nans.end(), p.nan_scores);
  return copy;
}

/// A copy in device memory of a plan that came from elsewhere.
inline basic_plan<device_memory> to_device(cuda const& ex, plan const& p) {
  basic_plan<device_memory> copy(ex, p.lengths_before(), p.lengths());
  if (p.heads() == 0) return copy;
  std::span<int const> const all(p.kept(0).data(), static_cast<std::size_t>(p.kept_in_all()));
  detail::copy_bytes(ex, const_cast<int*>(copy.kept_data()), all.data(), all.size_bytes(), cudaMemcpyHostToDevice);
  ex.wait();  // the caller's plan may go
  copy.nan_scores = p.nan_scores;
  return copy;
}

}  // namespace tightkv
