// SPDX-License-Identifier: Apache-2.0
#include "session.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include <tightkv/core/error.hpp>
#include <tightkv/interop/llama_state.hpp>

namespace tightkv::llama {
namespace {

void only_warnings(ggml_log_level level, char const* text, void*) {
  if (level == GGML_LOG_LEVEL_ERROR || level == GGML_LOG_LEVEL_WARN) std::fputs(text, stderr);
}

std::string value_of(llama_model const* model, std::string const& key) {
  char text[256];
  auto const found = [&](std::string const& full) {
    return llama_model_meta_val_str(model, full.c_str(), text, sizeof text) >= 0;
  };
  if (!found("general.architecture")) return {};
  return found(std::string(text) + "." + key) ? text : std::string{};
}

}  // namespace

session::session(session_options const& options) : options_(options), tap_(std::make_unique<engine_tap>()) {
  llama_log_set(only_warnings, nullptr);
  llama_backend_init();
  model_.reset(llama_model_load_from_file(options.model.c_str(), llama_model_default_params()));
  detail::expects(model_ != nullptr, "llama", "llama.cpp cannot load this model", "path", options.model);

  auto params = llama_context_default_params();
  params.n_ctx = static_cast<std::uint32_t>(options.cells);
  params.n_batch = params.n_ubatch = batch;
  params.n_threads = params.n_threads_batch = options.threads;
  params.type_k = options.keys;
  params.type_v = options.values;
  params.flash_attn_type = options.flash_attention ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
  params.cb_eval = engine_tap::callback;
  params.cb_eval_user_data = tap_.get();
  params.no_perf = true;
  context_.reset(llama_init_from_model(model_.get(), params));
  detail::expects(context_ != nullptr, "llama", "llama.cpp refuses such a context", "cells", options.cells);
}

std::vector<llama_token> session::tokens_of(std::string_view text) const {
  auto const length = static_cast<std::int32_t>(text.size());
  auto const needed = -llama_tokenize(vocab(), text.data(), length, nullptr, 0, true, false);
  std::vector<llama_token> tokens(static_cast<std::size_t>(std::max(0, needed)));
  llama_tokenize(vocab(), text.data(), length, tokens.data(), needed, true, false);
  return tokens;
}

std::string session::text_of(std::span<llama_token const> tokens) const {
  std::string text;
  for (auto const token : tokens) {
    char piece[256];
    auto const length = llama_token_to_piece(vocab(), token, piece, sizeof piece, 0, false);
    text.append(piece, static_cast<std::size_t>(std::max(0, length)));
  }
  return text;
}

bool session::ends_text(llama_token token) const { return llama_vocab_is_eog(vocab(), token); }

void session::decode(std::span<llama_token const> tokens, int outputs) {
  auto const count = static_cast<int>(tokens.size());
  std::vector<llama_token> ids(tokens.begin(), tokens.end());
  std::vector<llama_pos> positions;
  std::vector<std::int32_t> sequences(tokens.size(), 1);
  llama_seq_id sequence = 0;
  std::vector<llama_seq_id*> which(tokens.size(), &sequence);
  std::vector<std::int8_t> wanted;
  for (int i = 0; i < count; ++i) {
    positions.push_back(next_position_ + i);
    wanted.push_back(i >= count - outputs ? 1 : 0);
  }
  llama_batch const one{count, ids.data(), nullptr, positions.data(), sequences.data(), which.data(), wanted.data()};
  auto const refused = llama_decode(context_.get(), one);
  detail::expects(refused == 0, "llama", "llama_decode refuses the batch", "position", next_position_, "code", refused);
  next_position_ += count;
}

matrix<float> session::feed(std::span<llama_token const> tokens, int outputs,
                            std::function<void()> const& after_batch) {
  auto const all = static_cast<int>(tokens.size());
  matrix<float> logits(outputs, vocabulary());
  for (int first = 0; first < all; first += batch) {
    int const count = std::min(batch, all - first);
    int const wanted = std::clamp(first + count - (all - outputs), 0, count);
    decode(tokens.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)), wanted);
    for (int i = 0; i < wanted; ++i) {
      auto const* const row = llama_get_logits_ith(context_.get(), i - wanted);
      std::copy_n(row, vocabulary(), logits.view().row(first + count - wanted + i - (all - outputs)));
    }
    if (after_batch) after_batch();
  }
  return logits;
}

llama_token session::feed_one(llama_token token) {
  decode({&token, 1}, 1);
  auto const* const row = llama_get_logits_ith(context_.get(), -1);
  return static_cast<llama_token>(std::max_element(row, row + vocabulary()) - row);
}

std::vector<std::byte> session::saved() const {
  std::vector<std::byte> state(llama_state_seq_get_size(context_.get(), 0));
  auto* const data = reinterpret_cast<std::uint8_t*>(state.data());
  auto const written = llama_state_seq_get_data(context_.get(), data, state.size(), 0);
  detail::expects(written == state.size(), "llama", "the state could not be saved", "bytes", written);
  return state;
}

void session::restore(std::span<std::byte const> state, int next_position) {
  for (auto const& stream : llama_state::parse(state).base.streams) {
    detail::expects(stream.tokens() == 0 || stream.last + 1 == next_position, "llama",
                    "the state must go on at the sequence's next position", "state", stream.last + 1, "sequence",
                    next_position);
  }
  auto const* const data = reinterpret_cast<std::uint8_t const*>(state.data());
  auto const read = llama_state_seq_set_data(context_.get(), data, state.size(), 0);
  detail::expects(read == state.size(), "llama", "llama.cpp refuses this state", "bytes", state.size(), "read", read);
  next_position_ = next_position;
}

void session::clear() {
  llama_memory_clear(memory(), false);
  next_position_ = 0;
}

double session::metadata(std::string const& key, double otherwise) const {
  auto const text = value_of(model_.get(), key);
  return text.empty() ? otherwise : std::strtod(text.c_str(), nullptr);
}

bool session::has_metadata(std::string const& key) const { return !value_of(model_.get(), key).empty(); }

}  // namespace tightkv::llama
