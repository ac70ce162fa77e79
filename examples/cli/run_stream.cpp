// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "cache_compressor.hpp"
#include "forward.hpp"
#include "next_token.hpp"
#include "run_options.hpp"

namespace tightkv::cli {
namespace {

using engine::token;
using nlohmann::ordered_json;

/// The queries of the last `window` tokens, put together from those of each step.
class recent_queries {
 public:
  explicit recent_queries(int window) : window_(window) {}

  engine::query_capture const& append(engine::query_capture const& step) {
    int const keep = window_ == engine::all_rows ? 0 : std::min(all_.rows, std::max(0, window_ - step.rows));
    engine::query_capture next{
        .window = window_, .heads = step.heads, .rows = keep + step.rows, .head_dim = step.head_dim, .layers = {}};
    for (std::size_t l = 0; l < step.layers.size(); ++l) {
      auto& out = next.layers.emplace_back();
      for (int h = 0; h < step.heads; ++h) {
        if (keep > 0) append_rows(all_, l, h, keep, out);
        append_rows(step, l, h, step.rows, out);
      }
    }
    all_ = std::move(next);
    return all_;
  }

 private:
  static void append_rows(engine::query_capture const& from, std::size_t layer, int head, int last,
                          std::vector<float>& out) {
    auto const end = from.layers[layer].begin() + static_cast<std::ptrdiff_t>(head + 1) * from.rows * from.head_dim;
    out.insert(out.end(), end - static_cast<std::ptrdiff_t>(last) * from.head_dim, end);
  }

  int window_;  // all_rows: a method that needs each query once, in the step it comes in
  engine::query_capture all_;
};

template <class T>
struct flow {
  std::string name;
  engine::kv_cache<T> cache;
  std::vector<cache_compressor> compressor;  // one, or none for the full cache
  recent_queries queries;
  engine::query_capture step{};
  prediction_quality quality{};
  int peak_rows = 0;
};

/// Rows a method's cache can reach at once is not known up front (LagKV's grows), so there is room for the whole text.
template <class T>
std::vector<flow<T>> flows_of(run_options const& asked, language_model const& model, int tokens) {
  std::vector<flow<T>> flows;
  flows.push_back(
      {.name = "full", .cache = make_cache<T>(model, tokens), .compressor = {}, .queries = recent_queries(0)});
  for (auto const& choice : asked.methods) {
    flows.push_back({.name = std::string(choice.name()),
                     .cache = make_cache<T>(model, tokens),
                     .compressor = {cache_compressor(choice, model.weights.shape().layers, tokens)},
                     .queries = recent_queries(choice.query_window())});
  }
  return flows;
}

}  // namespace

template <class T>
ordered_json run_stream(run_options const& asked, language_model& model, executor_type const& ex,
                        progress const& show) {
  auto const text = model.read_context(asked.stream);
  int const tokens = static_cast<int>(text.size());
  detail::expects(tokens >= 2, "run", "the text needs at least two tokens", "tokens", tokens);
  auto flows = flows_of<T>(asked, model, tokens);

  for (int begin = 0; begin < tokens; begin += asked.chunk) {
    show("streaming", begin, tokens);
    int const count = std::min(asked.chunk, tokens - begin);
    auto const chunk = std::span(text).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count));
    std::vector<engine::new_tokens<T>> batch;
    for (auto& f : flows) {
      bool const watched = !f.compressor.empty() && f.compressor[0].choice().query_window() > 0;
      batch.push_back({.tokens = chunk, .cache = f.cache, .queries = watched ? &f.step : nullptr, .outputs = count});
    }
    auto const hidden = engine::forward<T>(model.weights, model.pool, std::span<engine::new_tokens<T> const>(batch));
    int row = 0;
    std::vector<next_token> of_full;
    for (auto& f : flows) {
      f.peak_rows = std::max(f.peak_rows, f.cache.longest());
      auto const logits = engine::logits(model.weights, model.pool, hidden, {row, count});
      row += count;
      for (int i = 0; i < count && begin + i + 1 < tokens; ++i) {
        next_token const expected(logits.row(i));
        if (f.compressor.empty()) of_full.push_back(expected);
        auto const& reference = of_full[static_cast<std::size_t>(i)];
        f.quality.add(expected, text[static_cast<std::size_t>(begin + i + 1)], reference.divergence_to(expected));
      }
      if (f.compressor.empty()) continue;
      bool const watched = f.compressor[0].choice().query_window() > 0;
      f.compressor[0].reduce(ex, f.cache, watched ? f.queries.append(f.step) : f.step);
    }
  }

  ordered_json out{{"tokens", tokens}, {"chunk", asked.chunk}, {"results", ordered_json::array()}};
  for (auto const& f : flows) {
    auto const mean = f.quality.mean();
    ordered_json report{{"method", f.name},
                        {"kept", rows_of(f.cache)},
                        {"peak_rows", f.peak_rows},
                        {"kv_bytes_after", f.cache.bytes_in_use()},
                        {"compress_ms", f.compressor.empty() ? 0.0 : f.compressor[0].seconds() * 1e3},
                        {"nll", finite(mean.nll)},
                        {"accuracy", finite(mean.accuracy)},
                        {"kl", finite(mean.kl)}};
    if (asked.indices && !f.compressor.empty()) report["indices"] = f.compressor[0].kept();
    out["results"].push_back(std::move(report));
  }
  return out;
}

template ordered_json run_stream<float>(run_options const&, language_model&, executor_type const&, progress const&);
template ordered_json run_stream<half>(run_options const&, language_model&, executor_type const&, progress const&);
template ordered_json run_stream<bfloat16>(run_options const&, language_model&, executor_type const&, progress const&);

}  // namespace tightkv::cli
