// SPDX-License-Identifier: Apache-2.0
/// What each kernel moves, as the emulator counts it, beside the floor: the bytes that must move. The shapes are small
/// and have the proportions of a model's: many heads, rows of 256 bytes.
#include <cstddef>
#include <cstdio>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <tightkv/cuda.cuh>

#if defined(TIGHTKV_CUDA_ON_CPU)  // a GPU counts in its profiler

namespace traffic_test {

using tightkv::bfloat16;
using tightkv::device_memory;

constexpr int heads = 8, tokens = 16 + 13 * 64, head_dim = 128;  // 12 partitions to judge
constexpr double plane_bytes = 2.0 * heads * tokens * head_dim;

/// Device memory of one plane, filled with numbers.
class plane_memory {
 public:
  explicit plane_memory(unsigned seed, tightkv::kv_shape const& s = {heads, tokens, head_dim}) : shape(s) {
    auto const count = static_cast<std::size_t>(s.heads * s.tokens * s.head_dim);
    cudaMalloc(&data, count * sizeof(bfloat16));
    for (std::size_t i = 0; i < count; ++i) {
      seed = seed * 1664525U + 1013904223U;
      data[i] = bfloat16(static_cast<float>(seed >> 8) * 0x1p-23F - 1.0F);
    }
  }
  plane_memory(plane_memory const&) = delete;
  plane_memory& operator=(plane_memory const&) = delete;
  ~plane_memory() { cudaFree(data); }

  auto rows() const { return tightkv::hnd(data, shape, device_memory{}); }

  tightkv::kv_shape shape;
  bfloat16* data = nullptr;
};

/// A row of the table in include/tightkv/cuda/README.md.
void print_row(cuda_on_cpu::traffic_counter const& counter, char const* op, char const* floor_is, double floor) {
  auto const& all = counter.total();
  auto global = all.loads;
  global += all.stores;
  static bool const header = std::puts(
                                 "| op | floor | bytes / floor | sectors used | worst bank conflict | wavefronts / "
                                 "ideal | barriers | launches |\n"
                                 "| --- | --- | --: | --: | --: | --: | --: | --: |") >= 0;
  static_cast<void>(header);
  auto const wavefronts = static_cast<double>(all.shared.wavefronts);
  std::printf("| %s | %s | %.3f | %.1f %% | %u | %.2f | %zu | %zu |\n", op, floor_is,
              static_cast<double>(global.bytes) / floor, 100 * global.efficiency(), all.shared.worst_conflict,
              all.shared.ideal == 0 ? 1.0 : wavefronts / static_cast<double>(all.shared.ideal),
              static_cast<std::size_t>(all.barriers), static_cast<std::size_t>(all.launches));
}

struct cuda_traffic : testing::Test {
  plane_memory const keys{1}, values{2};
  tightkv::cuda const ex{};
  tightkv::matrix<float, device_memory> scores = tightkv::make_scores(ex, heads, tokens);
  cuda_on_cpu::traffic_counter counter;

  cuda_traffic() {
    counter.watch("keys", keys.data, static_cast<std::size_t>(plane_bytes));
    counter.watch("values", values.data, static_cast<std::size_t>(plane_bytes));
  }

  void print(char const* op, char const* floor_is, double floor) const { print_row(counter, op, floor_is, floor); }
};

TEST_F(cuda_traffic, row_norms_read_the_keys_once) {
  tightkv::row_norms(ex, keys.rows(), -1.0F, scores.view());
  print("`row_norms`", "K read once", plane_bytes);
  EXPECT_LE(static_cast<double>(counter.total().loads.bytes), 1.02 * plane_bytes);
  EXPECT_GE(static_cast<double>(counter.of("keys").loads.bytes), plane_bytes);
  EXPECT_GE(counter.of("keys").loads.efficiency(), 0.95);
  EXPECT_LE(counter.total().shared.worst_conflict, 2U);
}

// Once for the mean direction, once for the cosines to it.
TEST_F(cuda_traffic, mean_cosine_reads_the_keys_twice) {
  tightkv::mean_cosine(ex, keys.rows(), -1.0F, scores.view());
  print("`mean_cosine`", "K read twice", 2 * plane_bytes);
  EXPECT_LE(static_cast<double>(counter.of("keys").loads.bytes), 2.02 * plane_bytes);
  EXPECT_GE(static_cast<double>(counter.of("keys").loads.bytes), 2 * plane_bytes);
  EXPECT_GE(counter.of("keys").loads.efficiency(), 0.95);
  EXPECT_LE(counter.total().shared.worst_conflict, 2U);
}

// Two heads into one, as many channels; each block of tokens reads the matrix.
TEST(cuda_traffic_of_merging, project_heads_reads_the_rows_once) {
  tightkv::cuda const ex{};
  tightkv::kv_shape const shape{2, 64, head_dim};
  plane_memory const keys(1, shape), merged(2, {1, 64, head_dim});
  tightkv::matrix<float, device_memory> factors(ex, 2 * head_dim, head_dim);
  cudaMemset(factors.view().data, 0, sizeof(float) * 2 * head_dim * head_dim);
  cuda_on_cpu::traffic_counter counter;
  counter.watch("keys", keys.data, sizeof(bfloat16) * 2 * 64 * head_dim);
  tightkv::project_heads(ex, keys.rows(), std::as_const(factors).view(), merged.rows());
  double const bytes = 2.0 * 2 * 64 * head_dim;
  print_row(counter, "`project_heads`", "rows and a matrix read, rows written",
            1.5 * bytes + 4.0 * 2 * head_dim * head_dim);
  EXPECT_EQ(static_cast<double>(counter.of("keys").loads.bytes), bytes);
  EXPECT_GE(counter.of("keys").loads.efficiency(), 0.95);
  EXPECT_LE(counter.total().shared.worst_conflict, 2U);
}

// A head's 128 channels are two tiles. Of their three pairs two read half of the head, and one all of it.
TEST(cuda_traffic_of_merging, gram_update_reads_the_rows_for_each_pair_of_tiles) {
  tightkv::cuda const ex{};
  tightkv::kv_shape const shape{1, 256, head_dim};
  plane_memory const keys(1, shape);
  tightkv::matrix<double, device_memory> products(ex, head_dim, head_dim);
  tightkv::matrix<double, device_memory> sums(ex, 1, head_dim);
  tightkv::matrix<tightkv::rows_counted, device_memory> counted(ex, 1, 1);
  cuda_on_cpu::traffic_counter counter;
  double const bytes = 2.0 * 256 * head_dim;
  counter.watch("keys", keys.data, static_cast<std::size_t>(bytes));
  counter.watch("products", products.view().data, sizeof(double) * head_dim * head_dim);
  tightkv::gram_update(ex, keys.rows(), {}, {products.view(), sums.view().data, counted.view().data});
  print_row(counter, "`gram_update`", "rows read once, sums read and written", bytes + 2 * 8.0 * head_dim * head_dim);
  EXPECT_EQ(static_cast<double>(counter.of("keys").loads.bytes), (1 + 2) * bytes);
  EXPECT_GE(counter.of("keys").loads.efficiency(), 0.95);
  EXPECT_GE(counter.of("products").stores.efficiency(), 0.95);
  EXPECT_LE(counter.total().shared.worst_conflict, 2U);
}

TEST_F(cuda_traffic, lag_scores_read_keys_and_values_once) {
  constexpr int lag = 64, sink = 16, judged = 12;
  constexpr int resident = tightkv::detail::lag_team<bfloat16>::blocks(head_dim / 16);  // blocks of a processor
  std::vector<int> const first(heads, sink);
  using kernel = tightkv::kernel<tightkv::lag_scores_fn, tightkv::cuda>;
  tightkv::lag_scores(ex, tightkv::kv_view(keys.rows(), values.rows()), {.partitions = {first, lag}}, scores.view());
  // A block reads the partitions that it judges and the one after them.
  int const per_block = kernel::partitions_per_block(heads, judged, 4 * resident);
  int const blocks = (judged + per_block - 1) / per_block;
  double const partition_bytes = 2.0 * heads * lag * head_dim;
  auto const& k = counter.of("keys").loads;
  auto const& v = counter.of("values").loads;
  print("`lag_scores`", "K and V read once", 2 * (judged + 1) * partition_bytes);
  EXPECT_EQ(static_cast<double>(k.bytes), (judged + blocks) * partition_bytes);
  EXPECT_EQ(static_cast<double>(v.bytes), (judged + blocks) * partition_bytes);
  EXPECT_GE(k.efficiency(), 0.95);
  EXPECT_GE(v.efficiency(), 0.95);
  EXPECT_LE(counter.total().shared.worst_conflict, 2U);
  // 32 layers, 8 heads, 32k tokens, lag 128, on 132 multiprocessors: what a block reads in all for each partition that
  // it judges.
  int const of_a_model = kernel::partitions_per_block(32 * 8, 255, 132 * resident);
  std::printf("a block of a model judges %d partitions and reads %d: %.3f reads of K and V\n", of_a_model,
              of_a_model + 1, 1 + 1.0 / of_a_model);
  EXPECT_LE(1 + 1.0 / of_a_model, 1.05);
}

// As many heads as a model has in all its layers: with fewer, rows are moved in more slices, and each reads the plan.
TEST(cuda_traffic_of_rows, compact_reads_and_writes_what_moves) {
  constexpr int all_heads = 256, few_tokens = 64, kept = few_tokens / 4;
  tightkv::kv_shape const shape{all_heads, few_tokens, head_dim};
  plane_memory const keys(1, shape), values(2, shape);
  tightkv::cuda const ex{};
  tightkv::plan p(std::vector<int>(all_heads, few_tokens), std::vector<int>(all_heads, kept));
  int rows_that_move = 0;
  for (int h = 0; h < all_heads; ++h) {
    for (int j = 0; j < kept; ++j) {
      int const from = 4 * j + (h + j) % 4;
      p.kept(h)[static_cast<std::size_t>(j)] = from;
      rows_that_move += from != j;
    }
  }
  auto const plan = to_device(ex, p);
  double const moved = 2 * 2.0 * head_dim * rows_that_move;  // of keys and of values
  cuda_on_cpu::traffic_counter counter;
  counter.watch("cache", keys.data, sizeof(bfloat16) * all_heads * few_tokens * head_dim);
  counter.watch("cache", values.data, sizeof(bfloat16) * all_heads * few_tokens * head_dim);
  tightkv::compact(ex, plan, keys.rows(), values.rows());
  print_row(counter, "`compact`", "what moves, read and written", 2 * moved);
  auto cache = counter.of("cache").loads;
  cache += counter.of("cache").stores;
  EXPECT_EQ(static_cast<double>(cache.bytes), 2 * moved);
  EXPECT_LE(static_cast<double>(counter.total().loads.bytes + counter.total().stores.bytes), 2.05 * moved);
  EXPECT_GE(cache.efficiency(), 0.95);
  EXPECT_LE(counter.total().shared.worst_conflict, 2U);
}

// Once to find the bin in which the threshold lies, once to mark who is above it; then those of the bin, which are few
// where scores differ. What a warp writes begins anywhere in a sector, and so does each of its stores.
TEST(cuda_traffic_of_selection, select_top_k_reads_the_scores_twice) {
  constexpr int few_heads = 2, many_tokens = 32768;
  tightkv::cuda const ex{};
  auto scores = tightkv::make_scores(ex, few_heads, many_tokens);
  std::vector<tightkv::token_range> const all(few_heads, {0, many_tokens});
  auto numbers = tightkv::matrix<int, device_memory>(ex, few_heads, many_tokens);
  tightkv::number_tokens(ex, {.ranges = all, .first = std::vector<int>(few_heads, 0)}, numbers.view());
  tightkv::random_scores(ex, std::as_const(numbers).view(), 7, scores.view());
  tightkv::candidates from(ex.resource());
  for (int h = 0; h < few_heads; ++h) from.add(many_tokens, {}, many_tokens / 4);
  cuda_on_cpu::traffic_counter counter;
  auto const plan = tightkv::top_k{}.select(ex, scores.view(), from);
  double const floor = 4.0 * few_heads * many_tokens;
  print_row(counter, "`select_top_k`", "scores read twice, a quarter's numbers written", 2.25 * floor);
  EXPECT_LE(static_cast<double>(counter.total().loads.bytes), 2.1 * floor);
  EXPECT_GE(counter.total().loads.efficiency(), 0.95);
  EXPECT_LE(counter.total().launches, 1U);
}

TEST_F(cuda_traffic, a_whole_compression_takes_at_most_five_launches) {
  tightkv::lag_kv const method{.lag = 64};
  tightkv::lag_kv::state state;
  tightkv::compress(ex, method, tightkv::kv_view(keys.rows(), values.rows()), state);
  print("`lag_kv`, whole", "K and V read once", 2 * plane_bytes);
  EXPECT_LE(counter.total().launches, 5U);
}

}  // namespace traffic_test

#endif
