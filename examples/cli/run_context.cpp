// SPDX-License-Identifier: Apache-2.0
#include <chrono>

#include "cache_compressor.hpp"
#include "forward.hpp"
#include "next_token.hpp"
#include "run_options.hpp"

namespace tightkv::cli {
namespace {

using engine::token;
using nlohmann::ordered_json;

/// One cache of the comparison: the full one, or one that a method has been at.
template <class T>
struct contender {
  std::string name;
  engine::kv_cache<T> cache;
  ordered_json report;
};

template <class T>
ordered_json described(contender<T> const& c, std::size_t bytes_before, double seconds) {
  return {{"method", c.name},
          {"kept", rows_of(c.cache)},
          {"kv_bytes_before", bytes_before},
          {"kv_bytes_after", c.cache.bytes_in_use()},
          {"compress_ms", seconds * 1e3}};
}

/// Feeds the continuation to each cache, and holds what it expects next against the full cache's expectation.
template <class T>
void score(run_options const& asked, language_model& model, std::vector<token> const& continuation,
           std::vector<contender<T>>& contenders, progress const& show) {
  int const count = static_cast<int>(continuation.size());
  int const scored = asked.score_last > 0 ? asked.score_last : count - 1;
  detail::expects(count >= 2, "run", "the continuation needs at least two tokens", "tokens", count);
  detail::expects(scored <= count - 1, "--score-last", "there are not so many tokens after the first", "score-last",
                  scored, "tokens", count);
  auto const fed = std::span(continuation).first(static_cast<std::size_t>(count - 1));

  matrix<float> reference;  // hidden states of the full cache
  int done = 0;
  for (auto& c : contenders) {
    show("scoring " + c.name, done++, static_cast<int>(contenders.size()));
    auto const hidden =
        engine::forward<T>(model.weights, model.pool, {.tokens = fed, .cache = c.cache, .outputs = scored});
    if (reference.empty()) reference = hidden;
    prediction_quality quality;
    constexpr int rows_at_a_time = 32;  // a row of logits is as long as the vocabulary
    for (int first = 0; first < scored; first += rows_at_a_time) {
      engine::row_range const rows{first, std::min(rows_at_a_time, scored - first)};
      auto const of_full = engine::logits(model.weights, model.pool, reference, rows);
      auto const of_this = engine::logits(model.weights, model.pool, hidden, rows);
      for (int r = 0; r < rows.count; ++r) {
        next_token const expected(of_this.row(r));
        auto const actual = continuation[static_cast<std::size_t>(count - scored + first + r)];
        quality.add(expected, actual, next_token(of_full.row(r)).divergence_to(expected));
      }
    }
    auto const mean = quality.mean();
    c.report["nll"] = finite(mean.nll);
    c.report["accuracy"] = finite(mean.accuracy);
    c.report["kl"] = finite(mean.kl);
  }
}

/// Each cache goes on by itself, all of them a token at a time. `next` is what the prompt's last token predicts, the
/// same for all since nothing had been compressed.
template <class T>
void generate(run_options const& asked, language_model& model, token next, std::vector<contender<T>>& contenders,
              progress const& show) {
  std::vector<std::vector<token>> texts(contenders.size(), {next});
  for (int i = 1; i < asked.generate; ++i) {
    show("generating", i, asked.generate);
    std::vector<std::size_t> going;
    std::vector<engine::new_tokens<T>> batch;
    for (std::size_t c = 0; c < contenders.size(); ++c) {
      if (model.words.end() == texts[c].back()) continue;
      going.push_back(c);
      batch.push_back({.tokens = std::span(texts[c]).last(1), .cache = contenders[c].cache});
    }
    if (going.empty()) break;
    auto const hidden = engine::forward<T>(model.weights, model.pool, std::span<engine::new_tokens<T> const>(batch));
    auto const logits = engine::logits(model.weights, model.pool, hidden);
    for (std::size_t k = 0; k < going.size(); ++k)
      texts[going[k]].push_back(engine::greedy(logits.row(static_cast<int>(k))));
  }
  for (std::size_t c = 0; c < contenders.size(); ++c) {
    for (char const* field : {"nll", "accuracy", "kl"}) contenders[c].report[field] = nullptr;
    contenders[c].report["text"] = model.words.decode(texts[c]);
  }
}

}  // namespace

template <class T>
ordered_json run_context(run_options const& asked, language_model& model, executor_type const& ex,
                         progress const& show) {
  auto const context = model.read_context(asked.context);
  std::vector<token> continuation;
  if (!asked.continuation.empty()) continuation = model.read_continuation(asked.continuation);
  int const tokens = static_cast<int>(context.size());
  int const more = std::max(static_cast<int>(continuation.size()), asked.generate);
  detail::expects(tokens + more <= model.weights.shape().context, "run", "does not fit into the model's context",
                  "tokens", tokens + more, "context", model.weights.shape().context);

  auto full = make_cache<T>(model, tokens + more);
  engine::query_capture queries{.window = 0};
  for (auto const& choice : asked.methods) queries.window = std::max(queries.window, choice.query_window());
  show("prefill", 0, 1);
  auto const start = std::chrono::steady_clock::now();
  auto const hidden =
      engine::forward<T>(model.weights, model.pool,
                         {.tokens = context, .cache = full, .queries = queries.window > 0 ? &queries : nullptr});
  auto const first = engine::greedy(engine::logits(model.weights, model.pool, hidden).row(0));
  double const prefill = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  auto const bytes_before = full.bytes_in_use();
  std::vector<contender<T>> contenders;
  contenders.push_back({"full", full, {}});
  contenders.back().report = described(contenders.back(), bytes_before, 0);
  shared_attention shared;
  for (auto const& choice : asked.methods) {
    show("compressing by " + std::string(choice.name()), static_cast<int>(contenders.size()) - 1,
         static_cast<int>(asked.methods.size()));
    contender<T> c{std::string(choice.name()), full, {}};
    cache_compressor compressor(choice, full.shape().layers, tokens);
    compressor.reduce(ex, c.cache, queries, shared);
    c.report = described(c, bytes_before, compressor.seconds());
    if (asked.indices) c.report["indices"] = compressor.kept();
    contenders.push_back(std::move(c));
  }

  if (asked.generate > 0) {
    generate(asked, model, first, contenders, show);
  } else {
    score(asked, model, continuation, contenders, show);
  }
  ordered_json out{{"tokens", tokens},
                   {"continuation_tokens", continuation.size()},
                   {"prefill_ms", prefill * 1e3},
                   {"results", ordered_json::array()}};
  for (auto& c : contenders) out["results"].push_back(std::move(c.report));
  return out;
}

template ordered_json run_context<float>(run_options const&, language_model&, executor_type const&, progress const&);
template ordered_json run_context<half>(run_options const&, language_model&, executor_type const&, progress const&);
template ordered_json run_context<bfloat16>(run_options const&, language_model&, executor_type const&, progress const&);

}  // namespace tightkv::cli
