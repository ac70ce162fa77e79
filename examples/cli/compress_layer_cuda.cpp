// SPDX-License-Identifier: Apache-2.0
// A dump compressed by the CUDA kernels: the engine's arrays lie in device memory.
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include <tightkv/cuda.cuh>

#include "compress_layer_on.hpp"

namespace tightkv::cli {

template <class X>
class array_in<X, device_memory> {
 public:
  explicit array_in(std::size_t size) : size_(size) {
    if (size > 0) detail::check(cudaMalloc(&data_, size * sizeof(X)), "the cache");
  }
  array_in(array_in const&) = delete;
  array_in& operator=(array_in&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~array_in() { cudaFree(data_); }

  X* data() noexcept { return static_cast<X*>(data_); }
  void write(std::size_t at, std::span<X const> from) {
    if (from.empty()) return;
    detail::check(cudaMemcpy(data() + at, from.data(), from.size_bytes(), cudaMemcpyHostToDevice), "filling the cache");
  }
  std::vector<X> on_host() const {
    std::vector<X> content(size_);
    if (size_ == 0) return content;
    detail::check(cudaMemcpy(content.data(), data_, size_ * sizeof(X), cudaMemcpyDeviceToHost), "reading the cache");
    return content;
  }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

compressed_layer compress_layer_on_device(method_choice const& choice, dumped_layer const& layer, int chunk) {
  return compress_layer_on(cuda{}, choice, layer, chunk);
}

}  // namespace tightkv::cli
