// SPDX-License-Identifier: Apache-2.0
#include "compare.hpp"

#include <iostream>
#include <nlohmann/json.hpp>

#include <tightkv/interop/file.hpp>

#include "measure.hpp"
#include "stopwatch.hpp"

namespace tightkv::llama {
namespace {

using nlohmann::ordered_json;

std::string text_in(std::string const& path) {
  auto const file = read_file(path);
  auto const bytes = file.bytes();
  return {reinterpret_cast<char const*>(bytes.data()), bytes.size()};
}

/// Queries are kept as long as somebody wants them: a batch of all, or a window of the last.
int query_window(std::vector<cli::method_choice> const& methods) {
  int window = 0;
  for (auto const& m : methods) window = std::max(window, std::min(m.query_window(), session::batch));
  return window;
}

bool anybody_watches_all(std::vector<cli::method_choice> const& methods) {
  return std::ranges::any_of(methods,
                             [](auto const& m) { return m.query_window() == cli::method_choice::all_queries; });
}

class comparison {
 public:
  explicit comparison(compare_options const& asked)
      : asked_(asked),
        pool_(asked.engine.threads),
        engine_(asked.engine),
        cache_(engine_),
        kv_heads_(llama_model_n_head_kv(engine_.model())),
        continuation_(engine_.tokens_of(text_in(asked.continuation))),
        scored_(asked.score_last > 0 ? asked.score_last : static_cast<int>(continuation_.size()) - 1) {}

  ordered_json run() {
    prefill();
    reference_ = measured(engine_.saved(), "full", {});
    for (auto const& choice : asked_.methods) {
      rewind();
      compressor method(choice, kv_heads_);
      method.take(history_);
      auto const done = compress(executor(), route_named(asked_.through), method, engine_, cache_);
      measured(engine_.saved(), choice.name(), {{"compress_ms", done.milliseconds}});
    }
    for (auto const& [name, kept] : plans_in(asked_.plans)) {
      rewind();
      carry_out(executor(), route_named(asked_.through), kept, engine_, cache_);
      measured(engine_.saved(), name, {{"given", true}});
    }
    return {{"tokens", tokens_},
            {"continuation_tokens", continuation_.size()},
            {"prefill_ms", prefill_ms_},
            {"observe_ms", observe_ms_},
            {"results", results_}};
  }

 private:
  executor_type executor() { return engine::executor_on(pool_); }

  void rewind() {
    engine_.clear();
    engine_.restore(full_, tokens_);
    cache_.restored(tokens_);
  }

  /// What `tightkv run --indices --json` kept: per layer and KV head, the tokens.
  std::vector<std::pair<std::string, plan>> plans_in(std::string const& path) const {
    std::vector<std::pair<std::string, plan>> plans;
    if (path.empty()) return plans;
    auto const json = ordered_json::parse(text_in(path));
    for (auto const& result : json.at("results")) {
      if (!result.contains("indices")) continue;  // the full cache
      std::vector<std::vector<int>> kept;
      for (auto const& layer : result["indices"]) {
        for (auto const& head : layer) kept.push_back(head.get<std::vector<int>>());
      }
      std::vector<int> after;
      for (auto const& head : kept) after.push_back(static_cast<int>(head.size()));
      plan p(std::vector<int>(kept.size(), tokens_), after);
      for (int h = 0; h < p.heads(); ++h) std::ranges::copy(kept[static_cast<std::size_t>(h)], p.kept(h).begin());
      plans.emplace_back(result["method"].get<std::string>(), std::move(p));
    }
    return plans;
  }

  void prefill() {
    auto const context = engine_.tokens_of(text_in(asked_.context));
    tokens_ = static_cast<int>(context.size());
    engine_.tap().window = query_window(asked_.methods);
    std::function<void()> watch;
    if (anybody_watches_all(asked_.methods)) {
      watch = [this] {
        stopwatch const clock;
        auto const saved = engine_.saved();
        observe(executor(), history_, llama_state::parse(saved).base.streams[0], kv_heads_, engine_.tap());
        observe_ms_ += clock.milliseconds();
      };
    }
    stopwatch const clock;
    engine_.feed(context, 1, watch);
    prefill_ms_ = clock.milliseconds() - observe_ms_;
    engine_.tap().window = 0;  // what was seen stays
    full_ = engine_.saved();
  }

  /// Scores the continuation from where the engine stands, then measures how fast it goes on.
  matrix<float> measured(std::vector<std::byte> const& state, std::string_view name, ordered_json more) {
    auto const cells = llama_state::parse(state).base.streams[0].tokens();
    auto logits = predictions(engine_, continuation_, scored_);
    auto const q = quality(logits, reference_.empty() ? logits : reference_, continuation_);
    ordered_json row{{"method", name}, {"cells", cells},         {"state_bytes", state.size()},
                     {"nll", q.nll},   {"accuracy", q.accuracy}, {"kl", q.kl}};
    if (asked_.decode > 0) row["decode_tokens_per_s"] = decode_speed(engine_, continuation_.back(), asked_.decode);
    if (!more.is_null()) row.update(more);
    results_.push_back(row);
    return logits;
  }

  compare_options const& asked_;
  engine::thread_pool pool_;
  session engine_;
  cache_in_place cache_;
  int kv_heads_;
  std::vector<llama_token> continuation_;
  int scored_;

  int tokens_ = 0;
  double prefill_ms_ = 0;
  double observe_ms_ = 0;
  attention_history history_;
  std::vector<std::byte> full_;
  matrix<float> reference_;
  ordered_json results_ = ordered_json::array();
};

}  // namespace

void compare(compare_options const& asked) { std::cout << comparison(asked).run().dump() << '\n'; }

}  // namespace tightkv::llama
