// SPDX-License-Identifier: Apache-2.0
/// What each kernel moves, as the emulator counts it, beside the floor: the bytes that must move. The shapes are small
/// and have the proportions of a model's: many heads, rows of 256 bytes.
#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <tightkv/cuda.cuh>

#if defined(TIGHTKV_CUDA_ON_CPU)  // a GPU counts in its profiler

namespace {

using tightkv::bfloat16;
using tightkv::device_memory;

constexpr int heads = 32, tokens = 16 + 13 * 64, head_dim = 128;  // 12 partitions to judge
constexpr double plane_bytes = 2.0 * heads * tokens * head_dim;

/// Device memory of one plane, filled with numbers.
class plane_memory {
 public:
  explicit plane_memory(unsigned seed) {
    constexpr std::size_t count = std::size_t{heads} * tokens * head_dim;
    cudaMalloc(&data, count * sizeof(bfloat16));
    for (std::size_t i = 0; i < count; ++i) {
      seed = seed * 1664525U + 1013904223U;
      data[i] = bfloat16(static_cast<float>(seed >> 8) * 0x1p-23F - 1.0F);
    }
  }
  plane_memory(plane_memory const&) = delete;
  plane_memory& operator=(plane_memory const&) = delete;
  ~plane_memory() { cudaFree(data); }

  auto rows() const {
    return tightkv::hnd(data, {.heads = heads, .tokens = tokens, .head_dim = head_dim}, device_memory{});
  }

  bfloat16* data = nullptr;
};

struct cuda_traffic : testing::Test {
  plane_memory const keys{1}, values{2};
  tightkv::cuda const ex{};
  tightkv::matrix<float, device_memory> scores = tightkv::make_scores(ex, heads, tokens);
  cuda_on_cpu::traffic_counter counter;

  cuda_traffic() {
    counter.watch("keys", keys.data, static_cast<std::size_t>(plane_bytes));
    counter.watch("values", values.data, static_cast<std::size_t>(plane_bytes));
  }

  tightkv::basic_plan<device_memory> every_fourth_token() const {
    std::vector<int> const before(heads, tokens), after(heads, tokens / 4);
    tightkv::plan p(before, after);
    for (int h = 0; h < heads; ++h) {
      for (int j = 0; j < tokens / 4; ++j) p.kept(h)[static_cast<std::size_t>(j)] = 4 * j + (h + j) % 4;
    }
    return to_device(ex, p);
  }

  /// A row of the table in include/tightkv/cuda/README.md.
  void print(char const* what, double floor) {
    auto const& all = counter.total();
    auto efficiency = all.loads;
    efficiency += all.stores;
    std::printf("| %s | %.3f | %.1f %% | %u | %.2f | %zu | %zu |\n", what,
                static_cast<double>(all.loads.bytes + all.stores.bytes) / floor, 100 * efficiency.efficiency(),
                all.shared.worst_conflict,
                all.shared.ideal == 0
                    ? 1.0
                    : static_cast<double>(all.shared.wavefronts) / static_cast<double>(all.shared.ideal),
                static_cast<std::size_t>(all.barriers), static_cast<std::size_t>(all.launches));
  }
};

TEST_F(cuda_traffic, row_norms_read_the_keys_once) {
  tightkv::row_norms(ex, keys.rows(), -1.0F, scores.view());
  print("`row_norms` (K read)", plane_bytes);
  EXPECT_LE(static_cast<double>(counter.total().loads.bytes), 1.02 * plane_bytes);
  EXPECT_GE(static_cast<double>(counter.of("keys").loads.bytes), plane_bytes);
  EXPECT_GE(counter.of("keys").loads.efficiency(), 0.95);
  EXPECT_LE(counter.total().shared.worst_conflict, 2U);
}

TEST_F(cuda_traffic, mean_cosine_reads_the_keys_twice) {
  tightkv::mean_cosine(ex, keys.rows(), -1.0F, scores.view());
  print("`mean_cosine` (K read twice)", 2 * plane_bytes);
  EXPECT_LE(static_cast<double>(counter.of("keys").loads.bytes), 2.02 * plane_bytes);
  EXPECT_GE(counter.of("keys").loads.efficiency(), 0.95);
}

TEST_F(cuda_traffic, lag_scores_read_keys_and_values_once) {
  constexpr int lag = 64, sink = 16, judged = 12;
  std::vector<int> const first(heads, sink);
  using kernel = tightkv::kernel<tightkv::lag_scores_fn, tightkv::cuda>;
  tightkv::lag_scores(ex, tightkv::kv_view(keys.rows(), values.rows()), {.partitions = {first, lag}}, scores.view());
  // A block reads the partitions that it judges and the one after them.
  int const per_block = kernel::partitions_per_block(heads * judged);
  int const blocks = (judged + per_block - 1) / per_block;
  double const partition_bytes = 2.0 * heads * lag * head_dim;
  auto const& k = counter.of("keys").loads;
  auto const& v = counter.of("values").loads;
  print("`lag_scores` (K and V read)", 2 * (judged + blocks) * partition_bytes);
  EXPECT_EQ(static_cast<double>(k.bytes), (judged + blocks) * partition_bytes);
  EXPECT_EQ(static_cast<double>(v.bytes), (judged + blocks) * partition_bytes);
  EXPECT_GE(k.efficiency(), 0.95);
  EXPECT_GE(v.efficiency(), 0.95);
  EXPECT_LE(counter.total().shared.worst_conflict, 2U);
  // 32 layers, 8 heads, 32k tokens, lag 128: what a block reads in all for each partition that it judges.
  int const of_a_model = kernel::partitions_per_block(32 * 8 * 255);
  std::printf("a block of a model judges %d partitions and reads %d: %.3f reads of K and V\n", of_a_model,
              of_a_model + 1, 1 + 1.0 / of_a_model);
  EXPECT_LE(1 + 1.0 / of_a_model, 1.05);
}

TEST_F(cuda_traffic, compact_reads_and_writes_what_moves) {
  auto const plan = every_fourth_token();
  auto const rows_that_move = [&] {
    auto const p = to_host(ex, plan);
    int moved = 0;
    for (int h = 0; h < heads; ++h) {
      for (int j = 0; j < p.after(h); ++j) moved += p.kept(h)[static_cast<std::size_t>(j)] != j;
    }
    return moved;
  }();
  double const moved = 2 * 2.0 * head_dim * rows_that_move;  // of keys and of values
  cuda_on_cpu::traffic_counter of_this;
  of_this.watch("keys", keys.data, static_cast<std::size_t>(plane_bytes));
  of_this.watch("values", values.data, static_cast<std::size_t>(plane_bytes));
  tightkv::compact(ex, plan, keys.rows(), values.rows());
  auto const& all = of_this.total();
  auto cache = of_this.of("keys").loads;
  cache += of_this.of("keys").stores;
  cache += of_this.of("values").loads;
  cache += of_this.of("values").stores;
  std::printf("compact: cache alone %.3f, sectors of it %.1f %%\n", static_cast<double>(cache.bytes) / moved,
              100 * cache.efficiency());
  EXPECT_EQ(static_cast<double>(cache.bytes), 2 * moved);
  EXPECT_LE(static_cast<double>(all.loads.bytes + all.stores.bytes), 2.05 * moved);
  EXPECT_GE(cache.efficiency(), 0.95);
  EXPECT_LE(all.shared.worst_conflict, 2U);
}

TEST_F(cuda_traffic, select_top_k_reads_the_scores_once) {
  tightkv::row_norms(ex, keys.rows(), -1.0F, scores.view());
  tightkv::candidates from(ex.resource());
  for (int h = 0; h < heads; ++h) from.add(tokens, {.sink = 4, .recent = 16}, tokens / 4);
  cuda_on_cpu::traffic_counter of_this;
  auto const plan = tightkv::top_k{}.select(ex, scores.view(), from);
  double const floor = 4.0 * heads * tokens;
  EXPECT_LE(static_cast<double>(of_this.total().loads.bytes), 1.02 * floor);
  EXPECT_LE(of_this.total().launches, 1U);
}

TEST_F(cuda_traffic, a_whole_compression_takes_at_most_five_launches) {
  tightkv::lag_kv const method{.lag = 64};
  tightkv::lag_kv::state state;
  tightkv::compress(ex, method, tightkv::kv_view(keys.rows(), values.rows()), state);
  print("`lag_kv`, whole (K and V read, what moves twice)", 2 * plane_bytes);
  EXPECT_LE(counter.total().launches, 5U);
  for (auto const& [name, k] : counter.kernels()) {
    std::printf("  %s: %zu launches, %zu bytes loaded, %zu stored\n", name.c_str(),
                static_cast<std::size_t>(k.launches), static_cast<std::size_t>(k.loads.bytes),
                static_cast<std::size_t>(k.stores.bytes));
  }
}

}  // namespace

#endif
