// SPDX-License-Identifier: Apache-2.0
/// `cuda{stream, &workspace}`: runs on a GPU, in the order of a stream.
#pragma once

#include <concepts>
#include <cstddef>
#include <memory_resource>
#include <utility>

#include <tightkv/core/executor.hpp>
#include <tightkv/cuda/error.cuh>
#include <tightkv/cuda/launch.cuh>
#include <tightkv/cuda/workspace.cuh>

namespace tightkv {

/// A stream, and where device memory for scratch, scores and plans comes from: the caller's workspace, or, where there
/// is none, the stream's own pool (`cudaMallocAsync`).
///
///     tightkv::cuda const ex{stream, &space};
///     auto const done = tightkv::compress(ex, method, view, state);   // returns at once; the stream does the work
///     ex.wait();
///
/// With a workspace nothing allocates on the device, nothing synchronises and nothing touches the default stream, so a
/// graph can capture the calls; lengths and budgets are then those of the capture. What only the host looks at
/// (lengths, budgets) comes from `host`.
struct cuda {
  using memory = device_memory;

  cudaStream_t stream = nullptr;
  workspace* space = nullptr;
  std::pmr::memory_resource* host = std::pmr::get_default_resource();

  std::pmr::memory_resource* resource() const noexcept { return host; }
  /// Until the stream has done all that it was given.
  void wait() const { detail::check(cudaStreamSynchronize(stream), "wait"); }
};
static_assert(executor<cuda>);

namespace detail {

/// True where bytes are counted and nothing is done.
inline bool only_measures(cuda const& ex) noexcept { return ex.space != nullptr && ex.space->measures(); }

template <class... Parameters, class... Args>
void launch(cuda const& ex, char const* what, void (*kernel)(Parameters...), launch_shape const& shape,
            Args const&... args) {
  bool const nothing = shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0;
  if (!nothing && !only_measures(ex)) launch(kernel, shape, ex.stream, what, args...);
}

inline void set_bytes(cuda const& ex, void* p, int value, std::size_t bytes) {
  if (bytes != 0 && !only_measures(ex)) check(cudaMemsetAsync(p, value, bytes, ex.stream), "filling device memory");
}

/// Of rows of `row_bytes` bytes each, `from_pitch` and `to_pitch` bytes apart.
struct rows_to_copy {
  std::size_t row_bytes;
  std::size_t rows;
  std::size_t from_pitch;
  std::size_t to_pitch;
};
inline void copy_rows(cuda const& ex, void* to, void const* from, rows_to_copy const& r, cudaMemcpyKind kind) {
  if (r.rows == 0 || r.row_bytes == 0 || only_measures(ex)) return;
  check(cudaMemcpy2DAsync(to, r.to_pitch, from, r.from_pitch, r.row_bytes, r.rows, kind, ex.stream), "copying rows");
}
inline void copy_bytes(cuda const& ex, void* to, void const* from, std::size_t bytes, cudaMemcpyKind kind) {
  if (bytes != 0 && !only_measures(ex)) check(cudaMemcpyAsync(to, from, bytes, kind, ex.stream), "copying bytes");
}

/// Device memory for `count` Ts, from the executor's workspace or from its stream's pool.
template <class T>
class device_array {
 public:
  device_array() = default;
  device_array(cuda const& ex, std::size_t count) : ex_(ex), bytes_(count * sizeof(T)) {
    if (count == 0) return;
    if (ex.space != nullptr) {
      data_ = static_cast<T*>(ex.space->take(bytes_));
    } else {
      void* p = nullptr;
      check(cudaMallocAsync(&p, bytes_, ex.stream), "allocating device memory");
      data_ = static_cast<T*>(p);
    }
  }
  device_array(device_array&& other) noexcept
      : ex_(other.ex_), bytes_(other.bytes_), data_(std::exchange(other.data_, nullptr)) {}
  device_array& operator=(device_array&& other) noexcept {
    std::swap(ex_, other.ex_);
    std::swap(bytes_, other.bytes_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~device_array() {
    if (data_ == nullptr) return;
    if (ex_.space != nullptr) {
      ex_.space->give_back(data_, bytes_);
    } else {
      cudaFreeAsync(data_, ex_.stream);
    }
  }

  T* data() const noexcept { return data_; }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  cuda ex_;
  std::size_t bytes_ = 0;
  T* data_ = nullptr;
};

inline unsigned blocks_for(std::ptrdiff_t items, std::ptrdiff_t per_block) noexcept {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

class measuring_workspace : public workspace {
 public:
  measuring_workspace() : workspace(measuring{}) {}
};

}  // namespace detail

/// The device bytes that calls need of a workspace: `calls(ex)` is gone through with nothing launched.
///
///     std::size_t const bytes = tightkv::workspace_bytes([&](tightkv::cuda const& ex) {
///       tightkv::decide(ex, method, view);
///     });
///
/// Whatever may be called with `cuda` may be called here: ops, scorers, selectors, `decide`, `compress`. A state that
/// is handed in takes note of the call, so give it one of its own.
template <std::invocable<cuda const&> Calls>
std::size_t workspace_bytes(Calls&& calls) {
  detail::measuring_workspace counts;
  std::forward<Calls>(calls)(cuda{.stream = nullptr, .space = &counts});
  return counts.peak();
}

}  // namespace tightkv
