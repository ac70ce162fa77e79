// SPDX-License-Identifier: Apache-2.0
/// What merging heads needs, on the device: Gram matrices and projections, near the plain kernels'.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "device.hpp"

#include <tightkv/cuda/gram_update.cuh>
#include <tightkv/cuda/project_heads.cuh>

namespace merging_test {

using namespace tests;

/// Rounding of another order of summation, relative to what is added up: in double, and in float.
constexpr double gram_tolerance = 1e-14;
constexpr double projection_tolerance = 1e-6;  // then rounded to the element type

/// One of each kind.
using layouts = std::tuple<layout_tag<nhd_layout>, layout_tag<paged_hnd_layout>, layout_tag<transposed_layout>,
                           layout_tag<batch_layout>>;

struct host_sums {
  tightkv::matrix<double> products;
  std::vector<double> linear;
  tightkv::rows_counted counted{.added = 3, .not_finite = 1};

  explicit host_sums(int size) : products(size, size, 0.5), linear(static_cast<std::size_t>(size), 0.25) {}
  tightkv::gram_view<> view() { return {products.view(), linear.data(), &counted}; }
};

/// The same on a device.
struct device_sums {
  tightkv::matrix<double, device_memory> products;
  tightkv::matrix<double, device_memory> linear;
  tightkv::matrix<tightkv::rows_counted, device_memory> counted;

  device_sums(tightkv::cuda const& ex, host_sums const& from)
      : products(on_device(ex, from.products)),
        linear(on_device(ex, row_of(from.linear))),
        counted(on_device(ex, tightkv::matrix<tightkv::rows_counted>(1, 1, from.counted))) {}
  tightkv::gram_view<device_memory> view() { return {products.view(), linear.view().data, counted.view().data}; }

 private:
  static tightkv::matrix<double> row_of(std::vector<double> const& x) {
    tightkv::matrix<double> row(1, static_cast<int>(x.size()));
    std::copy(x.begin(), x.end(), row.view().data);
    return row;
  }
};

[[gnu::noinline]] void expect_near(double got, double want, double scale, int a, int b) {
  ASSERT_NEAR(got, want, gram_tolerance * scale) << "channels " << a << ", " << b;
}

[[gnu::noinline]] void expect_near(tightkv::matrix<double> const& got, tightkv::matrix<double> const& want) {
  for (int a = 0; a < want.rows(); ++a) {
    for (int b = 0; b < want.cols(); ++b) {
      double const scale = std::sqrt(want(a, a) * want(b, b));
      ASSERT_NO_FATAL_FAILURE(expect_near(got(a, b), want(a, b), scale, a, b));
      ASSERT_EQ(got(a, b), got(b, a));
    }
  }
}

template <class Layout, class T>
void expect_same_gram(extents const& e, tightkv::head_range const& group) {
  auto logical = troubled_rows<T>(e, 1);
  // Beside a row of the largest numbers, no other could be seen.
  for (int d = 0; d < e.head_dim; ++d) logical.template set<T>(2, 9, d, element<T>(1.5));
  int const size = group.heads * e.head_dim;
  cache<Layout> keys(logical);
  host_sums want(size);
  host_sums const before = want;
  tightkv::gram_update(plain{}, keys.template plane<T>(), group, want.view());
  for_each_seed([&](unsigned seed) {
    tightkv::cuda const ex{};
    device_cache<Layout> device_keys(logical);
    device_sums got(ex, before);
    tightkv::gram_update(ex, device_keys.template plane<T>(), group, got.view());
    EXPECT_EQ(to_host(ex, got.counted)(0, 0), want.counted);
    expect_near(to_host(ex, got.products), want.products);
    auto const sums = to_host(ex, got.linear);
    for (int a = 0; a < size; ++a) {
      expect_near(sums(0, a), want.linear[static_cast<std::size_t>(a)], std::sqrt(want.products(a, a) * e.length(0)), a,
                  a);
    }
    comparisons::all().add("gram_update", Layout::name, element_names::GetName<T>(0), e.head_dim, seed);
  });
}

TEST(cuda_gram_update, is_that_of_the_cpu) {
  for_each_layout_and_type<0, layouts>([]<class Tag, class T>(Tag, T) {
    using layout = typename Tag::type;
    SCOPED_TRACE(layout::name);
    auto const e = usual_extents(false, 40);
    expect_same_gram<layout, T>(e, {.first = 1, .heads = 2, .skip = 3});  // 80 channels: two tiles
    expect_same_gram<layout, T>(e, {.first = 3});
  });
}

TEST(cuda_gram_update, of_many_tokens_is_put_together_from_slices) {
  expect_same_gram<nhd_layout, float>({{700, 700, 700, 700}, 16}, {.heads = 4, .skip = 1});
}

TEST(cuda_gram_update, of_no_tokens_adds_nothing) {
  expect_same_gram<nhd_layout, float>({{20, 20, 20, 20}, 8}, {.heads = 1, .skip = 20});
}

TEST(cuda_gram_update, can_be_measured) {
  cache<nhd_layout> keys(random_rows<float>({{400, 400}, 64}, 1));
  auto const rows = tightkv::hnd(static_cast<float const*>(nullptr) + 64, {2, 400, 64}, device_memory{});
  double* const somewhere = reinterpret_cast<double*>(sizeof(double));
  auto* const counted = reinterpret_cast<tightkv::rows_counted*>(sizeof(double));
  EXPECT_GT(tightkv::workspace_bytes([&](tightkv::cuda const& ex) {
              tightkv::gram_update(ex, rows, {.heads = 2}, {{somewhere, 128, 128}, somewhere, counted});
            }),
            3U * 64 * 64 * sizeof(double));
}

// Nothing is waited for: a graph of it adds the rows again at every replay.
TEST(cuda_gram_update, can_be_captured) {
  constexpr int head_dim = 40;
  auto const logical = troubled_rows<tightkv::half>({{300, 300, 300, 300}, head_dim}, 1);
  device_cache<nhd_layout> keys(logical);
  auto const rows = keys.plane<tightkv::half>();
  host_sums const zero(head_dim);
  tightkv::cuda const direct{};
  device_sums want(direct, zero);
  device_sums got(direct, zero);

  auto const bytes =
      tightkv::workspace_bytes([&](auto const& ex) { tightkv::gram_update(ex, rows, {.skip = 1}, got.view()); });
  device_bytes const memory{std::vector<std::byte>(bytes)};
  tightkv::workspace space(memory.data(), bytes);
  cudaStream_t stream = nullptr;
  expect_success(cudaStreamCreate(&stream));
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  expect_success(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  tightkv::gram_update(tightkv::cuda{stream, &space}, rows, {.skip = 1}, got.view());
  expect_success(cudaStreamEndCapture(stream, &graph));
  expect_success(cudaGraphInstantiate(&executable, graph, 0));
  for (int replay = 0; replay < 2; ++replay) {
    tightkv::gram_update(direct, rows, {.skip = 1}, want.view());
    expect_success(cudaGraphLaunch(executable, stream));
  }
  expect_success(cudaStreamSynchronize(stream));
  auto const counted = to_host(direct, got.counted)(0, 0);
  EXPECT_EQ(counted, to_host(direct, want.counted)(0, 0));
  EXPECT_GT(counted.added, 400);
  auto const numbers = [&](tightkv::matrix<double, device_memory> const& m) {
    auto const copy = to_host(direct, m);
    auto const first = copy.view().data;
    return std::vector<double>(first, first + copy.rows() * copy.cols());
  };
  EXPECT_EQ(numbers(got.linear), numbers(want.linear));
  EXPECT_EQ(numbers(got.products), numbers(want.products));
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

/// Elements that are sums of `inputs` products: within as many roundings, of values of about their size.
template <class T>
[[gnu::noinline]] void expect_near_rows(std::vector<std::byte> const& got, std::vector<std::byte> const& want,
                                        int inputs) {
  double const unit = std::is_same_v<T, float> ? 0 : std::is_same_v<T, tightkv::half> ? 0x1p-10 : 0x1p-7;
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < want.size(); i += sizeof(T)) {
    T x;
    T y;
    std::memcpy(&x, got.data() + i, sizeof x);
    std::memcpy(&y, want.data() + i, sizeof y);
    if (std::isnan(value_of(y)) && std::isnan(value_of(x))) continue;  // no row is there
    ASSERT_NEAR(value_of(x), value_of(y), projection_tolerance * inputs + unit * std::fabs(value_of(y)))
        << "element " << i / sizeof(T);
  }
}

/// Heads of `e` projected to `to` channels, `together` at a time, into packed rows.
template <class Layout, class T>
void expect_same_projection(extents const& e, int together, int matrix_count, int to_dim) {
  auto const logical = random_rows<T>(e, 1);
  std::vector<int> lengths;
  for (int h = 0; h < e.heads(); h += together) lengths.push_back(e.length(h));
  rows const room({lengths, to_dim}, sizeof(T));
  int const inputs = together * e.head_dim;
  tightkv::matrix<float> factors(matrix_count * inputs, to_dim);
  auto const numbers = random_numbers(static_cast<std::size_t>(factors.rows() * to_dim), 2);
  std::copy(numbers.begin(), numbers.end(), factors.view().data);

  cache<Layout> from(logical);
  cache<packed_layout> want(room);
  tightkv::project_heads(plain{}, from.template plane<T>(), std::as_const(factors).view(), want.template plane<T>());
  for_each_seed([&](unsigned seed) {
    tightkv::cuda const ex{};
    device_cache<Layout> device_from(logical);
    device_cache<packed_layout> got(room);
    auto const device_factors = on_device(ex, factors);
    tightkv::project_heads(ex, device_from.template plane<T>(), device_factors.view(), got.template plane<T>());
    expect_near_rows<T>(got.memory(), want.memory(), inputs);
    comparisons::all().add("project_heads", Layout::name, element_names::GetName<T>(0), e.head_dim, seed);
  });
}

TEST(cuda_project_heads, is_that_of_the_cpu) {
  for_each_layout_and_type<1, layouts>([]<class Tag, class T>(Tag, T) {
    using layout = typename Tag::type;
    SCOPED_TRACE(layout::name);
    expect_same_projection<layout, T>(usual_extents(false, 64), 2, 2, 64);
    expect_same_projection<layout, T>(usual_extents(layout::varied, 80), 1, 2, 17);
  });
}

TEST(cuda_project_heads, may_give_wider_rows_from_one_matrix_for_all) {
  expect_same_projection<nhd_layout, tightkv::half>({{70, 70}, 24}, 2, 1, 200);
}

}  // namespace merging_test
