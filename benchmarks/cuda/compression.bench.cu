// SPDX-License-Identifier: Apache-2.0
/// The kernels, and whole compressions, of a model's cache in bfloat16: 32 layers of 8 KV heads, head_dim 128.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "measure.cuh"

namespace {

using tightkv::bfloat16;
using rows = tightkv::plane<bfloat16, tightkv::strided, tightkv::contiguous, tightkv::device_memory>;

constexpr int heads_per_layer = 8;
constexpr int head_dim = 128;
constexpr int group = 4;

__global__ void fill_kernel(bfloat16* data, std::size_t count, std::uint64_t seed) {
  std::size_t const stride = std::size_t{gridDim.x} * blockDim.x;
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
    auto const part = [&](int k) {
      return tightkv::detail::random_score(seed, static_cast<int>(i >> 30) * 4 + k, static_cast<int>(i & 0x3fffffffU));
    };
    data[i] = bfloat16(3.4F * (part(0) + part(1) + part(2) + part(3) - 2.0F));  // near enough to a bell
  }
}

/// Keys or values of some layers, all heads of one length.
class cache {
 public:
  cache(int layers, int tokens, std::uint64_t seed)
      : elements_(static_cast<std::size_t>(layers) * heads_per_layer * static_cast<std::size_t>(tokens) * head_dim),
        memory_(elements_ * sizeof(bfloat16)) {
    fill_kernel<<<2048, 256>>>(memory_.as<bfloat16>(), elements_, seed);
    bench::check(cudaDeviceSynchronize(), "filling");
    for (int l = 0; l < layers; ++l) {
      bfloat16* const layer =
          memory_.as<bfloat16>() + elements_ / static_cast<std::size_t>(layers) * static_cast<std::size_t>(l);
      planes_.push_back(tightkv::hnd(layer, {.heads = heads_per_layer, .tokens = tokens, .head_dim = head_dim},
                                     tightkv::device_memory{}));
    }
  }
  auto batch() const { return tightkv::batch(planes_); }
  double bytes() const { return static_cast<double>(elements_ * sizeof(bfloat16)); }
  bfloat16* data() const { return memory_.as<bfloat16>(); }

 private:
  std::size_t elements_;
  bench::device_memory memory_;
  std::vector<rows> planes_;
};

/// What a benchmark runs on: a stream and a workspace large enough for all of them.
struct place {
  cudaStream_t stream = nullptr;
  bench::device_memory memory;
  tightkv::workspace space;
  tightkv::cuda ex;

  explicit place(std::size_t bytes) : memory(bytes), space(memory.as<void>(), bytes), ex{nullptr, &space} {
    bench::check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
    ex.stream = stream;
  }
};

/// Nothing is timed before its answer has been compared with the CPU's.
bool agrees_with_the_cpu(place const& p) {
  tightkv::kv_shape const shape{.heads = 2, .tokens = 1500, .head_dim = head_dim};
  std::size_t const count = 2 * 1500 * head_dim;
  std::vector<bfloat16> keys(count);
  std::mt19937 random(1);
  std::normal_distribution<float> bell;
  for (auto& k : keys) k = bfloat16(bell(random));
  bench::device_memory device(count * sizeof(bfloat16));
  bench::check(cudaMemcpy(device.as<void>(), keys.data(), count * sizeof(bfloat16), cudaMemcpyHostToDevice), "copying");
  auto const here = tightkv::hnd(keys.data(), shape);
  auto const there = tightkv::hnd(device.as<bfloat16>(), shape, tightkv::device_memory{});
  tightkv::lag_kv const method{.keep = {0.25}};
  auto const want = tightkv::decide(tightkv::cpu{}, method, tightkv::kv_view(here, here)).plan;
  auto const got = tightkv::decide(p.ex, method, tightkv::kv_view(there, there)).plan;
  return tightkv::to_host(p.ex, got) == want;
}

std::string shape_of(int layers, int tokens) {
  return std::to_string(layers) + " x 8 x " + std::to_string(tokens) + " x 128";
}

/// A copy as plain as can be, 16 bytes a thread at a time.
__global__ void __launch_bounds__(512) copy_kernel(uint4 const* from, uint4* to, std::size_t count) {
  constexpr int at_once = 4;
  std::size_t const first = std::size_t{blockIdx.x} * blockDim.x * at_once + threadIdx.x;
  uint4 x[at_once];
#pragma unroll
  for (int i = 0; i < at_once; ++i) {
    if (first + static_cast<std::size_t>(i) * blockDim.x < count)
      x[i] = from[first + static_cast<std::size_t>(i) * blockDim.x];
  }
#pragma unroll
  for (int i = 0; i < at_once; ++i) {
    if (first + static_cast<std::size_t>(i) * blockDim.x < count)
      to[first + static_cast<std::size_t>(i) * blockDim.x] = x[i];
  }
}

/// The floor: the better of the driver's copy and our own.
void copies(place const& p, cache const& from, cache const& to, std::string const& shape) {
  auto const t = bench::replay(p.stream, [&] {
    bench::check(cudaMemcpyAsync(to.data(), from.data(), static_cast<std::size_t>(from.bytes()),
                                 cudaMemcpyDeviceToDevice, p.stream),
                 "copying");
  });
  bench::report("device copy, cudaMemcpyAsync", shape, t, 2 * from.bytes());
  auto const count = static_cast<std::size_t>(from.bytes()) / sizeof(uint4);
  auto const own = bench::replay(p.stream, [&] {
    copy_kernel<<<tightkv::detail::blocks_for(static_cast<std::ptrdiff_t>(count), 2048), 512, 0, p.stream>>>(
        reinterpret_cast<uint4 const*>(from.data()), reinterpret_cast<uint4*>(to.data()), count);
  });
  bench::report("device copy, kernel", shape, own, 2 * from.bytes());
}

void scores(place const& p, cache const& keys, cache const& values, int layers, int tokens) {
  auto const shape = shape_of(layers, tokens);
  int const heads = layers * heads_per_layer;
  auto out = tightkv::make_scores(p.ex, heads, tokens);
  bench::report("row_norms", shape,
                bench::replay(p.stream, [&] { tightkv::row_norms(p.ex, keys.batch(), -1.0F, out.view()); }),
                keys.bytes());
  bench::report("mean_cosine", shape,
                bench::replay(p.stream, [&] { tightkv::mean_cosine(p.ex, keys.batch(), -1.0F, out.view()); }),
                2 * keys.bytes());
  std::vector<int> const first(static_cast<std::size_t>(heads), 16);
  for (int const lag : {128, 1024}) {
    tightkv::kv_view const view(keys.batch(), values.batch());
    tightkv::lag_scores_fn::parameters const parameters{.partitions = {.first = first, .lag = lag}};
    bench::report("lag_scores, lag " + std::to_string(lag), shape,
                  bench::replay(p.stream, [&] { tightkv::lag_scores(p.ex, view, parameters, out.view()); }),
                  keys.bytes() + values.bytes());
  }
}

void selections(place const& p, int tokens) {
  int const heads = 32 * heads_per_layer;
  auto const shape = "256 rows of " + std::to_string(tokens);
  auto numbers = tightkv::matrix<int, tightkv::device_memory>(p.ex, heads, tokens);
  auto scores = tightkv::make_scores(p.ex, heads, tokens);
  std::vector<tightkv::token_range> const all(static_cast<std::size_t>(heads), {0, tokens});
  std::vector<int> const first(static_cast<std::size_t>(heads), 0);
  tightkv::number_tokens(p.ex, {.ranges = all, .first = first}, numbers.view());
  tightkv::random_scores(p.ex, numbers.view(), 7, scores.view());
  std::vector<int> const before(static_cast<std::size_t>(heads), tokens);
  std::vector<int> const after(static_cast<std::size_t>(heads), tokens / 4);
  auto plan = tightkv::make_plan(p.ex, before, after);
  double const bytes = 4.0 * heads * tokens * 1.25;
  bench::report("select_top_k, a quarter", shape,
                bench::replay(p.stream, [&] { tightkv::select_top_k(p.ex, scores.view(), all, plan); }), bytes);
  std::vector<int> const sinks(static_cast<std::size_t>(heads), 0);
  tightkv::select_partitions_fn::parameters const s{.partitions = {.first = sinks, .lag = 128}, .quota = 32};
  std::vector<int> const partly(static_cast<std::size_t>(heads), tightkv::select_partitions_fn::kept(s, 0, tokens));
  auto partition_plan = tightkv::make_plan(p.ex, before, partly);
  bench::report("select_partitions, lag 128", shape,
                bench::replay(p.stream, [&] { tightkv::select_partitions(p.ex, scores.view(), s, partition_plan); }),
                bytes);
}

/// A plan that keeps random tokens.
tightkv::plan random_plan(int heads, int tokens, double keep) {
  std::vector<int> const before(static_cast<std::size_t>(heads), tokens);
  std::vector<int> const after(static_cast<std::size_t>(heads), static_cast<int>(keep * tokens));
  tightkv::plan plan(before, after);
  std::mt19937 random(3);
  for (int h = 0; h < heads; ++h) {
    int left = plan.after(h);
    auto out = plan.kept(h).begin();
    for (int t = 0; t < tokens; ++t) {
      if (static_cast<int>(random() % static_cast<unsigned>(tokens - t)) < left) {
        *out++ = t;
        --left;
      }
    }
  }
  return plan;
}

void compactions(place const& p, cache const& keys, cache const& values, int layers, int tokens) {
  for (double const keep : {0.25, 0.5}) {
    auto const plan = tightkv::to_device(p.ex, random_plan(layers * heads_per_layer, tokens, keep));
    bench::report("compact, keep " + std::to_string(keep).substr(0, 4), shape_of(layers, tokens),
                  bench::replay(p.stream, [&] { tightkv::compact(p.ex, plan, keys.batch(), values.batch()); }),
                  2 * keep * (keys.bytes() + values.bytes()));
  }
}

template <class M>
void method(place const& p, std::string const& name, M const& m, cache const& keys, cache const& values, int layers,
            int tokens, double read, double keep) {
  tightkv::kv_view const view(keys.batch(), values.batch());
  auto const t = bench::replay(p.stream, [&] {
    tightkv::state_of<M, tightkv::cuda> state;
    tightkv::compress(p.ex, m, view, state);
  });
  bench::report(name + ", whole compression", shape_of(layers, tokens), t,
                read + 2 * keep * (keys.bytes() + values.bytes()));
}

void attention(place const& p, int tokens, int window) {
  cache const keys(1, tokens, 1);
  cache const queries(group, window, 2);
  auto const q =
      tightkv::hnd(queries.data(), {.heads = group * heads_per_layer, .tokens = window, .head_dim = head_dim},
                   tightkv::device_memory{});
  tightkv::kv_view const view(keys.batch(), tightkv::absent{}, q);
  auto out = tightkv::make_scores(p.ex, group * heads_per_layer, tokens);
  auto mass = tightkv::make_scores(p.ex, heads_per_layer, tokens);
  auto const shape = "1 x 8 (32 query heads) x " + std::to_string(tokens) + ", " + std::to_string(window) + " queries";
  bench::report("window_attention", shape,
                bench::replay(
                    p.stream, [&] { tightkv::window_attention(p.ex, view, window, out.view()); }, 7),
                0);
  std::vector<int> const last(heads_per_layer, window);
  bench::report("attention_mass", shape,
                bench::replay(
                    p.stream, [&] { tightkv::attention_mass(p.ex, view, last, mass.view()); }, 7),
                0);
}

}  // namespace

int main(int argc, char** argv) {
  int const layers = argc > 1 ? std::atoi(argv[1]) : 32;
  int const tokens = argc > 2 ? std::atoi(argv[2]) : 32768;
  cudaDeviceProp device{};
  bench::check(cudaGetDeviceProperties(&device, 0), "asking for the device");
  std::printf("{\"device\": \"%s\", \"sm\": %d%d, \"processors\": %d}\n", device.name, device.major, device.minor,
              device.multiProcessorCount);
  place const p(std::size_t{3} << 30);
  if (!agrees_with_the_cpu(p)) {
    std::fprintf(stderr, "the GPU's plan is not the CPU's: nothing is timed\n");
    return 1;
  }
  for (int const l : {layers, 1}) {
    cache const keys(l, tokens, 1);
    cache const values(l, tokens, 2);
    double const both = keys.bytes() + values.bytes();
    copies(p, keys, values, shape_of(l, tokens));
    scores(p, keys, values, l, tokens);
    compactions(p, keys, values, l, tokens);
    method(p, "lag_kv", tightkv::lag_kv{.keep = {0.25}}, keys, values, l, tokens, both, 0.25);
    method(p, "lag_kv, lag 1024", tightkv::lag_kv{.keep = {0.25}, .lag = 1024}, keys, values, l, tokens, both, 0.25);
    method(p, "l2_norm", tightkv::l2_norm{.budget = tightkv::keep_ratio{0.25}}, keys, values, l, tokens, keys.bytes(),
           0.25);
    method(p, "key_diff", tightkv::key_diff{.budget = tightkv::keep_ratio{0.25}}, keys, values, l, tokens,
           2 * keys.bytes(), 0.25);
    copies(p, keys, values, shape_of(l, tokens) + ", again");
  }
  selections(p, 32768);
  selections(p, 131072);
  attention(p, 32768, 64);
  attention(p, 4096, 4096);
}
