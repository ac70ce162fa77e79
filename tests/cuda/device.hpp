// SPDX-License-Identifier: Apache-2.0
/// What the tests of the CUDA kernels share: memory of the device, and the comparison with the CPU. The same tests run
/// on a GPU and, where there is none, in the emulator, which runs each under several seeds.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstring>
#include <iostream>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <tightkv/cuda/error.cuh>  // the emulator is worth optimising

#include <support/unoptimised.hpp>

#include <support/layouts.hpp>
#include <support/rows.hpp>
#include <tightkv/cuda/matrix.cuh>
#include <tightkv/cuda/plan.cuh>

namespace tests {

using tightkv::device_memory;
using plain = tightkv::plain_cpu;  // the specification

[[gnu::noinline]] inline void expect_success(cudaError_t e) { ASSERT_EQ(e, cudaSuccess) << cudaGetErrorString(e); }

/// A copy of some bytes on the device.
class device_bytes {
 public:
  [[gnu::noinline]] explicit device_bytes(std::span<std::byte const> content) : size_(content.size()) {
    expect_success(cudaMalloc(&data_, size_ == 0 ? 1 : size_));
    expect_success(cudaMemcpy(data_, content.data(), size_, cudaMemcpyHostToDevice));
  }
  device_bytes(device_bytes const&) = delete;
  device_bytes& operator=(device_bytes const&) = delete;
  ~device_bytes() { cudaFree(data_); }

  std::byte* data() const { return static_cast<std::byte*>(data_); }
  [[gnu::noinline]] std::vector<std::byte> on_host() const {
    std::vector<std::byte> copy(size_);
    expect_success(cudaDeviceSynchronize());
    expect_success(cudaMemcpy(copy.data(), data_, size_, cudaMemcpyDeviceToHost));
    return copy;
  }

 private:
  void* data_ = nullptr;
  std::size_t size_;
};

/// Tables lie in pinned memory, which the host reads as well: lengths and starts are looked at on both sides.
template <>
struct table_in<device_memory> {
  template <class X>
  static X const* of(std::vector<X> const& table, std::shared_ptr<void>& owner) {
    void* p = nullptr;
    expect_success(cudaMallocHost(&p, sizeof(X) * (table.size() + 1)));
    if (!table.empty()) std::memcpy(p, table.data(), sizeof(X) * table.size());
    owner = std::shared_ptr<void>(p, [](void* q) { cudaFreeHost(q); });
    return static_cast<X const*>(p);
  }
};

/// Rows in device memory, in a layout.
template <class Layout>
class device_cache {
 public:
  explicit device_cache(rows const& r) : where_(r, r.element_bytes), memory_(laid_out(where_, r)) {}
  template <class T>
  auto plane() {
    return where_.plane(reinterpret_cast<T*>(memory_.data()), device_memory{});
  }
  placement const& where() const { return where_; }
  std::vector<std::byte> memory() const { return memory_.on_host(); }

 private:
  Layout where_;
  device_bytes memory_;
};

/// A host matrix's copy on the device.
template <class T>
tightkv::matrix<T, device_memory> on_device(tightkv::cuda const& ex, tightkv::matrix<T> const& m) {
  tightkv::matrix<T, device_memory> copy(ex, m.rows(), m.cols());
  auto const bytes = sizeof(T) * static_cast<std::size_t>(m.rows()) * static_cast<std::size_t>(m.cols());
  if (bytes > 0) expect_success(cudaMemcpy(copy.view().data, m.view().data, bytes, cudaMemcpyHostToDevice));
  return copy;
}

/// Calls `f(seed)`: on a GPU once, in the emulator for a few orders of its threads.
template <class F>
void for_each_seed(F const& f) {
#if defined(TIGHTKV_CUDA_ON_CPU)
  for (unsigned const seed : {1U, 2U}) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    cuda_on_cpu::settings().seed = seed;
    f(seed);
  }
#else
  f(0U);
#endif
}

/// What has been compared in this run of the program: (op, layout, element type, head_dim or size, seed).
class comparisons {
 public:
  static comparisons& all() {
    static comparisons c;
    return c;
  }
  void add(std::string const& op, std::string const& layout, std::string const& type, int size, unsigned seed) {
    done_.emplace(op, layout, type, size, seed);
  }
  ~comparisons() { std::cout << "compared " << done_.size() << " combinations of op, layout, type, size and seed\n"; }

 private:
  std::set<std::tuple<std::string, std::string, std::string, int, unsigned>> done_;
};

[[gnu::noinline]] inline void expect_same_bits(tightkv::matrix<float> const& got, tightkv::matrix<float> const& want) {
  ASSERT_EQ(got.rows(), want.rows());
  ASSERT_EQ(got.cols(), want.cols());
  for (int h = 0; h < got.rows(); ++h) {
    for (int t = 0; t < got.cols(); ++t) {
      ASSERT_TRUE(same(got(h, t), want(h, t)))
          << "head " << h << ", token " << t << ": " << got(h, t) << ", on the CPU " << want(h, t);
    }
  }
}

/// Random rows with the values that make trouble: NaN, infinities, zeros, numbers whose square is infinite, equal rows,
/// one far away from the others.
template <class T>
rows troubled_rows(extents const& e, unsigned seed) {
  auto r = random_rows<T>(e, seed);
  auto const fill = [&](int h, int t, double x) {
    for (int d = 0; d < e.head_dim; ++d) r.template set<T>(h, t, d, element<T>(x));
  };
  r.template set<T>(0, 3, e.head_dim / 2, element<T>(NAN));
  r.template set<T>(0, 13, e.head_dim - 1, element<T>(INFINITY));
  r.template set<T>(1, 12, 0, element<T>(-INFINITY));
  fill(2, 7, 0.0);
  fill(2, 9, std::is_same_v<T, tightkv::half> ? 60000.0 : 3e38);
  fill(3, 4, 0.25);
  fill(3, 5, 0.25);
  fill(3, 6, 40.0);
  return r;
}

/// Calls `f(layout_tag<L>{}, T{})` for each layout L, with one element type T for each: the next one in the list for
/// the next layout, beginning with number `First`. A caller of each `First` has seen all pairs.
template <int First, class Layouts = all_layouts, class F>
void for_each_layout_and_type(F const& f) {
  using types = std::tuple<float, tightkv::half, tightkv::bfloat16>;
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (f(std::tuple_element_t<I, Layouts>{}, std::tuple_element_t<(I + First) % 3, types>{}), ...);
  }
  (std::make_index_sequence<std::tuple_size_v<Layouts>>{});
}

/// `score(ex, keys, values, out)` must give the CPU's bits on the device, in every layout.
template <int First, class Layouts = all_layouts, class Score>
void expect_bits_of_the_cpu(char const* op, std::vector<int> const& dims, Score const& score) {
  for_each_layout_and_type<First, Layouts>([&]<class Tag, class T>(Tag, T) {
    using layout = typename Tag::type;
    for (int const head_dim : dims) {
      SCOPED_TRACE(testing::Message() << layout::name << ", head_dim " << head_dim);
      auto const e = usual_extents(layout::varied, head_dim);
      auto const keys = troubled_rows<T>(e, 1);
      auto const values = troubled_rows<T>({e.lengths, 32}, 2);
      cache<layout> k(keys);
      cache<packed_layout> v(values);
      tightkv::matrix<float> want(e.heads(), e.longest(), 0.0F);
      score(plain{}, k.template plane<T>(), v.template plane<T>(), want.view());

      for_each_seed([&](unsigned seed) {
        tightkv::cuda const ex{};
        device_cache<layout> dk(keys);
        device_cache<packed_layout> dv(values);
        auto got = on_device(ex, tightkv::matrix<float>(e.heads(), e.longest(), 0.0F));
        score(ex, dk.template plane<T>(), dv.template plane<T>(), got.view());
        expect_same_bits(to_host(ex, got), want);
        comparisons::all().add(op, layout::name, element_names::GetName<T>(0), head_dim, seed);
      });
    }
  });
}

}  // namespace tests
