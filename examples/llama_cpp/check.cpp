// SPDX-License-Identifier: Apache-2.0
#include "check.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <numeric>

#include <tightkv/interop/file.hpp>

#include "generate.hpp"
#include "measure.hpp"
#include "rearranged.hpp"

namespace tightkv::llama {
namespace {

constexpr int prompt_tokens = 600;
constexpr int kept_tokens = 100;
constexpr int more_tokens = 24;  // after that
constexpr int asked_tokens = 8;  // whose logits are compared
constexpr unsigned seeds = 6;    // of each disturbance; the largest difference counts
// Two largest differences of as many seeds may be so far apart.
constexpr double allowed = 2;
// How far an error must stand out from what is allowed.
constexpr double apart = 4;

struct cache_kind {
  char const* name;
  ggml_type keys, values;
  bool flash;
};
constexpr cache_kind kinds[] = {
    {"f32", GGML_TYPE_F32, GGML_TYPE_F32, false},          {"f32, flash", GGML_TYPE_F32, GGML_TYPE_F32, true},
    {"f16", GGML_TYPE_F16, GGML_TYPE_F16, false},          {"f16, flash", GGML_TYPE_F16, GGML_TYPE_F16, true},
    {"bf16", GGML_TYPE_BF16, GGML_TYPE_BF16, false},       {"q8_0 / f16", GGML_TYPE_Q8_0, GGML_TYPE_F16, false},
    {"q8_0, flash", GGML_TYPE_Q8_0, GGML_TYPE_Q8_0, true}, {"q4_0, flash", GGML_TYPE_Q4_0, GGML_TYPE_Q4_0, true}};

/// What is done to a state between two steps, to see what comes of it.
using disturbance = std::function<std::vector<std::byte>(std::vector<std::byte> const&)>;

/// The largest difference that seeds 1, 2, .. make.
template <class Of>
double largest_of(Of const& of) {
  double most = 0;
  for (unsigned seed = 1; seed <= seeds; ++seed) most = std::max(most, of(seed));
  return most;
}

/// One kind of cache, filled with the prompt.
class bench {
 public:
  bench(check_options const& asked, cache_kind const& kind)
      : pool_(asked.threads),
        engine_({.model = asked.model,
                 .cells = 2048,
                 .keys = kind.keys,
                 .values = kind.values,
                 .flash_attention = kind.flash,
                 .threads = asked.threads}),
        cache_(engine_),
        layers_(llama_model_n_layer(engine_.model())),
        heads_(llama_model_n_head_kv(engine_.model())) {
    auto const file = read_file(asked.text);
    auto const bytes = file.bytes();
    tokens_ =
        engine_.tokens_of({reinterpret_cast<char const*>(bytes.data()), std::min<std::size_t>(bytes.size(), 8192)});
    detail::expects(tokens_.size() >= prompt_tokens + more_tokens + asked_tokens, "check", "the text is too short",
                    "tokens", tokens_.size());
    engine_.feed(std::span(tokens_).first(prompt_tokens), 1);
    full_ = engine_.saved();
    full_logits_ = logits();
    compacted();
    small_ = engine_.saved();
    small_logits_ = logits();
    twice_logits_ = compacted_twice(route::buffer);
  }

  /// Rows in another order, the same for all heads: what llama.cpp rounds differently then.
  double reordered(unsigned seed) { return difference(reordering(seed)(full_), full_logits_); }
  /// Another order for each head of each layer.
  double per_head(unsigned seed) {
    auto const o = [&](int l, int h, side) {
      return shuffled(prompt_tokens, 1000 * seed + static_cast<unsigned>(l * heads_ + h));
    };
    return difference(moved(full_, heads_, o), full_logits_);
  }
  /// Keys in another order than values.
  double mismatched(unsigned seed) {
    auto const o = [&](int, int, side s) { return shuffled(prompt_tokens, s == side::keys ? seed : seed + seeds); };
    return difference(moved(full_, heads_, o), full_logits_);
  }
  /// Keys turned one position too far, as if compaction had counted wrongly by one.
  double one_off() { return difference(turned(full_, engine_, {1}), full_logits_); }

  /// The same tokens kept for all heads: compacted by us, or the others removed by llama.cpp.
  double removed() {
    auto const kept = some_tokens(0);
    rewind();
    for (int t = prompt_tokens, end = t; t-- > 0;) {
      if (!std::ranges::binary_search(kept, t)) continue;
      llama_memory_seq_rm(engine_.memory(), 0, t + 1, end);
      end = t;
      if (t == kept.front()) llama_memory_seq_rm(engine_.memory(), 0, 0, t);
    }
    return largest_difference(logits(), small_logits_);
  }
  /// As many rows, reordered.
  double small_reordered(unsigned seed) { return difference(reordering(seed)(small_), small_logits_); }

  /// Other tokens kept for each head, through another route; twice, with tokens in between.
  double against_buffer(route r) { return largest_difference(compacted_twice(r), twice_logits_); }
  /// The same through route a, with rows reordered after both compactions.
  double twice_reordered(unsigned seed) {
    return largest_difference(compacted_twice(route::buffer, reordering(seed)), twice_logits_);
  }
  /// And with keys turned by some positions, and back: rounded as often as route c rounds them.
  double twice_turned(unsigned seed) {
    auto const reorder = reordering(seed);
    int const shift = 100 * static_cast<int>(seed);
    auto const disturb = [&](auto const& state) { return turned(reorder(state), engine_, {-shift, shift}); };
    return largest_difference(compacted_twice(route::buffer, disturb), twice_logits_);
  }

  std::string refused(route r) const { return refusal(r, engine_); }

  /// Rows labelled as if the sequence were short must not get into the engine, nor touch what is there.
  void wrong_positions() {
    auto state = small_;
    auto const s = llama_state::parse(state);
    auto* const cells = const_cast<std::byte*>(s.base.streams[0].cells.data());
    for (std::int32_t t = 0; t < kept_tokens; ++t) std::memcpy(cells + t * llama_state::cell_bytes, &t, sizeof t);
    resume(small_, prompt_tokens);
    std::string said;
    try {
      engine_.restore(state, prompt_tokens);
    } catch (bad_argument const& e) {
      said = e.what();
    }
    detail::expects(!said.empty(), "check", "wrong positions were not noticed");
    detail::expects(largest_difference(logits(), small_logits_) == 0, "check", "a refused state touched the cache");
    std::printf("Wrong positions: %s\n", said.c_str());
  }

 private:
  executor_type executor() { return engine::executor_on(pool_); }

  void resume(std::vector<std::byte> const& state, int next_position) {
    engine_.clear();
    engine_.restore(state, next_position);
    cache_.restored(llama_state::parse(state).base.streams[0].tokens());
  }
  void rewind() { resume(full_, prompt_tokens); }
  matrix<float> logits() {
    return engine_.feed(std::span(tokens_).subspan(prompt_tokens + more_tokens, asked_tokens), asked_tokens);
  }
  double difference(std::vector<std::byte> const& state, matrix<float> const& expected) {
    resume(state, prompt_tokens);
    return largest_difference(logits(), expected);
  }
  disturbance reordering(unsigned seed) const {
    return [heads = heads_, seed](std::vector<std::byte> const& state) {
      order const o = shuffled(llama_state::parse(state).base.streams[0].tokens(), seed);
      return moved(state, heads, [&](int, int, side) { return o; });
    };
  }

  order some_tokens(int head) const {
    auto o = shuffled(prompt_tokens - 1, 77U + static_cast<unsigned>(head));
    o.resize(kept_tokens - 1);
    o.push_back(prompt_tokens - 1);
    std::ranges::sort(o);
    return o;
  }
  plan plan_of(std::function<order(int)> const& kept) const {
    auto const count = static_cast<std::size_t>(layers_ * heads_);
    plan p(order(count, prompt_tokens), order(count, kept_tokens));
    for (int h = 0; h < p.heads(); ++h) std::ranges::copy(kept(h), p.kept(h).begin());
    return p;
  }
  void compacted() {
    rewind();
    carry_out(executor(), route::buffer, plan_of([&](int) { return some_tokens(0); }), engine_, cache_);
  }
  matrix<float> compacted_twice(route by, disturbance const& disturb = {}) {
    auto const step = [&](plan const& p) {
      carry_out(executor(), by, p, engine_, cache_);
      if (disturb) resume(disturb(engine_.saved()), engine_.next_position());
    };
    rewind();
    step(plan_of([&](int head) { return some_tokens(head); }));
    engine_.feed(std::span(tokens_).subspan(prompt_tokens, more_tokens), 1);
    step(half_of_the_new());
    return logits();
  }
  /// All that was kept before, and every second token of those that came since.
  plan half_of_the_new() const {
    auto const count = static_cast<std::size_t>(layers_ * heads_);
    plan p(order(count, kept_tokens + more_tokens), order(count, kept_tokens + more_tokens / 2));
    for (int h = 0; h < p.heads(); ++h) {
      auto const kept = p.kept(h);
      std::iota(kept.begin(), kept.end(), 0);
      for (int j = 0; j < more_tokens / 2; ++j) kept[static_cast<std::size_t>(kept_tokens + j)] += j + (h + j) % 2;
    }
    return p;
  }

  engine::thread_pool pool_;
  session engine_;
  cache_in_place cache_;
  int layers_;
  int heads_;
  std::vector<llama_token> tokens_;
  std::vector<std::byte> full_;
  matrix<float> full_logits_;  // of all tokens
  std::vector<std::byte> small_;
  matrix<float> small_logits_;  // of the same tokens for all heads
  matrix<float> twice_logits_;  // of other tokens for each head, through route a, compacted twice
};

void at_most(char const* what, char const* kind, double difference, double floor) {
  detail::expects(difference <= allowed * floor, std::string("check ") + kind,
                  std::string(what) + " differs by more than llama.cpp's own rounding", "difference", difference,
                  "rounding", floor);
}

void stands_out(char const* what, char const* kind, double difference, double floor) {
  detail::expects(difference > apart * allowed * floor, std::string("check ") + kind,
                  std::string(what) + " must stand out from llama.cpp's own rounding", "difference", difference,
                  "rounding", floor);
}

void check_kind(check_options const& asked, cache_kind const& kind) {
  bench b(asked, kind);
  auto const number = [](double difference) {
    std::printf(" %8.1e", difference);
    return difference;
  };
  std::printf("%-12s", kind.name);
  double const floor = number(largest_of([&](unsigned seed) { return b.reordered(seed); }));
  double const per_head = number(largest_of([&](unsigned seed) { return b.per_head(seed); }));
  double const small_floor = number(largest_of([&](unsigned seed) { return b.small_reordered(seed); }));
  double const removed = number(b.removed());
  double const twice_floor = number(largest_of([&](unsigned seed) { return b.twice_reordered(seed); }));
  double const high = number(b.against_buffer(route::high_cells));
  bool const turns = b.refused(route::low_cells).empty();
  double turned_floor = 0, low = 0, one_off = 0;
  if (turns) {
    turned_floor = number(largest_of([&](unsigned seed) { return b.twice_turned(seed); }));
    low = number(b.against_buffer(route::low_cells));
  } else {
    std::printf(" %8s %8s", "", "refused");
  }
  double const mismatched = number(b.mismatched(1));
  if (turns) one_off = number(b.one_off());
  std::printf("\n");
  std::fflush(stdout);

  at_most("a shuffle per head", kind.name, per_head, floor);
  at_most("compaction", kind.name, removed, small_floor);
  at_most("route b", kind.name, high, twice_floor);
  stands_out("keys apart from their values", kind.name, mismatched, floor);
  if (turns) {
    at_most("route c", kind.name, low, turned_floor);
    stands_out("keys one position off", kind.name, one_off, floor);
  }
  if (kind.flash && kind.keys == GGML_TYPE_F16) b.wrong_positions();
}

}  // namespace

void check(check_options const& asked) {
  std::printf(
      "Largest difference of logits; the first of each pair is llama.cpp's own rounding, of %u seeds\n"
      "             %d rows           %d rows          twice compacted                      errors\n"
      "cache         reorder per head  reorder  removal  reorder    b - a     turn    c - a mismatch  one off\n",
      seeds, prompt_tokens, kept_tokens);
  for (auto const& kind : kinds) check_kind(asked, kind);

  cli::method_choice method("key_diff");
  method.set("tokens=192");
  constexpr std::pair<char const*, int> generations[] = {{"a", 800}, {"b", 200}, {"c", 200}};
  for (auto const& [through, tokens] : generations) {
    generate_options more;
    more.engine.model = asked.model;
    more.engine.cells = 768;
    more.engine.threads = asked.threads;
    more.prompt = asked.text;
    more.tokens = tokens;
    more.every = 64;
    more.through = through;
    more.methods = {method};
    auto const out = generate(more);
    std::printf("Generation by route %s: %d positions, at most %d rows in %d cells, %d compressions\n", through,
                out.next_position, out.most_rows, more.engine.cells, out.compressions);
    detail::expects(out.next_position == out.prompt_tokens - 1 + more.tokens, "check", "a position was lost");
    detail::expects(out.next_position > more.engine.cells && out.most_rows <= more.engine.cells, "check",
                    "the cache did not stay bounded", "rows", out.most_rows);
  }
}

}  // namespace tightkv::llama
