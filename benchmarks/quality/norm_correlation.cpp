// SPDX-License-Identifier: Apache-2.0
/// norm_correlation MODEL CONTEXT: Spearman's rank correlation between the norm of a token's key and the attention the
/// token receives, per layer and KV head. The L2 norm as a score supposes that it is close to -1.
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <thread>

#include <tightkv/ops/attention_mass.hpp>
#include <tightkv/ops/row_norms.hpp>

#include "cache_view.hpp"
#include "language_model.hpp"

namespace {

using tightkv::half;

/// Ranks from 0; equal values share the mean of theirs.
std::vector<double> ranks(std::span<float const> values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t i) { return values[i]; });
  std::vector<double> out(values.size());
  for (std::size_t first = 0, last = 0; first < order.size(); first = last) {
    while (last < order.size() && values[order[last]] == values[order[first]]) ++last;
    for (std::size_t i = first; i < last; ++i) out[order[i]] = static_cast<double>(first + last - 1) / 2;
  }
  return out;
}

double correlation(std::vector<double> const& a, std::vector<double> const& b) {
  double const n = static_cast<double>(a.size());
  double const mean_a = std::reduce(a.begin(), a.end()) / n;
  double const mean_b = std::reduce(b.begin(), b.end()) / n;
  double ab = 0;
  double aa = 0;
  double bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    ab += (a[i] - mean_a) * (b[i] - mean_b);
    aa += (a[i] - mean_a) * (a[i] - mean_a);
    bb += (b[i] - mean_b) * (b[i] - mean_b);
  }
  return ab / std::sqrt(aa * bb);
}

nlohmann::ordered_json measure(std::string const& model_file, std::string const& context_file) {
  engine::thread_pool pool(static_cast<int>(std::max(1U, std::thread::hardware_concurrency())));
  auto const ex = engine::executor_on(pool);
  tightkv::cli::language_model model(model_file, pool);
  auto const context = model.read_context(context_file);
  int const tokens = static_cast<int>(context.size());
  auto const& s = model.weights.shape();
  engine::kv_cache<half> cache{
      {.layers = s.layers, .kv_heads = s.kv_heads, .capacity = tokens, .head_dim = s.head_dim}};
  engine::query_capture queries;
  engine::forward<half>(model.weights, pool, {.tokens = context, .cache = cache, .queries = &queries});

  nlohmann::ordered_json out{{"tokens", tokens}, {"layers", nlohmann::ordered_json::array()}};
  std::vector<int> const all(static_cast<std::size_t>(s.kv_heads), tokens);
  for (int l = 0; l < s.layers; ++l) {
    tightkv::matrix<float> norms(s.kv_heads, tokens);
    tightkv::matrix<float> mass(s.kv_heads, tokens);
    tightkv::row_norms(ex, engine::keys_of(cache, l), 1.0F, norms.view());
    tightkv::attention_mass(ex, engine::view_of(cache, l, queries), all, mass.view());
    nlohmann::ordered_json heads{{"sum", nlohmann::ordered_json::array()},
                                 {"per_query", nlohmann::ordered_json::array()}};
    for (int h = 0; h < s.kv_heads; ++h) {
      auto const norm_ranks = ranks(norms.row(h));
      heads["sum"].push_back(correlation(norm_ranks, ranks(mass.row(h))));
      // An early token is seen by more queries, so that its sum is large for no merit of its own.
      for (int t = 0; t < tokens; ++t) mass(h, t) /= static_cast<float>(tokens - t);
      heads["per_query"].push_back(correlation(norm_ranks, ranks(mass.row(h))));
    }
    out["layers"].push_back(std::move(heads));
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "norm_correlation MODEL CONTEXT\n";
    return 2;
  }
  try {
    std::cout << measure(argv[1], argv[2]).dump() << '\n';
  } catch (std::exception const& error) {
    std::cerr << "norm_correlation: " << error.what() << '\n';
    return 1;
  }
}
