// SPDX-License-Identifier: Apache-2.0
/// A llama.cpp model and one sequence of it: what every program against its public API begins with.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <tightkv/core/matrix.hpp>

#include "engine_tap.hpp"
#include "llama.h"

namespace tightkv::llama {

struct session_options {
  std::string model;
  int cells = 8192;  ///< the KV cache has: llama.cpp's n_ctx
  ggml_type keys = GGML_TYPE_F16;
  ggml_type values = GGML_TYPE_F16;
  bool flash_attention = true;
  int threads = 2;
};

/// One sequence of a model: tokens go in, logits come out, positions count on.
///
///     session engine({.model = path});
///     auto const logits = engine.feed(engine.tokens_of(text), 1);
///
/// Throws `bad_argument` for what llama.cpp refuses: it says why on stderr.
class session {
 public:
  explicit session(session_options const& options);

  std::vector<llama_token> tokens_of(std::string_view text) const;
  std::string text_of(std::span<llama_token const> tokens) const;
  bool ends_text(llama_token token) const;

  /// Feeds the tokens that come next, and returns the logits after each of the last `outputs`. `after_batch` is called
  /// whenever some of them are in the cache.
  matrix<float> feed(std::span<llama_token const> tokens, int outputs, std::function<void()> const& after_batch = {});
  llama_token feed_one(llama_token token);  ///< and returns the model's first choice

  /// The sequence as llama.cpp saves it, and back.
  std::vector<std::byte> saved() const;
  /// Throws `bad_argument`, before llama.cpp sees it, for a state after which the next position would be another one:
  /// llama.cpp would take it, and either refuse the next token or answer wrongly.
  void restore(std::span<std::byte const> state, int next_position);
  void clear();

  int next_position() const noexcept { return next_position_; }
  int vocabulary() const { return llama_vocab_n_tokens(vocab()); }
  /// A number of the model's metadata, such as `rope.dimension_count`, or what is given in its place.
  double metadata(std::string const& key, double otherwise) const;
  bool has_metadata(std::string const& key) const;

  session_options const& options() const noexcept { return options_; }
  llama_model* model() const noexcept { return model_.get(); }
  llama_memory_t memory() const noexcept { return llama_get_memory(context_.get()); }
  llama_context* context() const noexcept { return context_.get(); }
  engine_tap& tap() noexcept { return *tap_; }

  static constexpr int batch = 512;  ///< tokens at a time

 private:
  llama_vocab const* vocab() const { return llama_model_get_vocab(model_.get()); }
  void decode(std::span<llama_token const> tokens, int outputs);

  template <auto Free>
  struct freed_by {
    void operator()(auto* p) const noexcept { Free(p); }
  };

  session_options options_;
  std::unique_ptr<engine_tap> tap_;  // llama.cpp keeps its address
  std::unique_ptr<llama_model, freed_by<llama_model_free>> model_;
  std::unique_ptr<llama_context, freed_by<llama_free>> context_;
  int next_position_ = 0;
};

}  // namespace tightkv::llama
