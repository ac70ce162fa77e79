// SPDX-License-Identifier: Apache-2.0
/// What a merger has to know of an attention layer: its heads, and what RoPE does to the keys.
#pragma once

#include <string>

#include <tightkv/core/error.hpp>

namespace tightkv {

/// Which channels of a key RoPE turns together: f with f + channels / 2 (Hugging Face), or 2f with 2f + 1 (GGUF's
/// Llama, GPT-J).
enum class rotary_pairs { half_split, interleaved };

/// The channels that RoPE turns: the first `channels` of each head, in pairs, pair f by position x frequency f. None
/// for learned positions and ALiBi; fewer than head_dim for a partial rotary embedding.
struct rotary {
  int channels = 0;
  rotary_pairs pairs = rotary_pairs::half_split;

  int frequencies() const noexcept { return channels / 2; }
  /// The channel that is the real part of pair f.
  int real(int f) const noexcept { return pairs == rotary_pairs::half_split ? f : 2 * f; }
  /// The channel that is its imaginary part.
  int imaginary(int f) const noexcept { return pairs == rotary_pairs::half_split ? f + channels / 2 : 2 * f + 1; }

  friend bool operator==(rotary const&, rotary const&) = default;
};

/// The heads of an attention layer. Query head q uses KV head q / (query_heads / kv_heads).
struct attention_shape {
  int query_heads = 0;
  int kv_heads = 0;
  int key_dim = 0;    // of one head; of its queries as well
  int value_dim = 0;  // of one head
  tightkv::rotary rotary = {};
  bool qk_norm = false;  // a norm between the projections and RoPE (Qwen3, Gemma 3): nothing fuses into W_K and W_Q

  int group_size() const noexcept { return query_heads / kv_heads; }

  friend bool operator==(attention_shape const&, attention_shape const&) = default;
};

namespace detail {

inline void check_rotary(char const* who, rotary const& r, int head_dim) {
  expects(r.channels >= 0 && r.channels <= head_dim && r.channels % 2 == 0, who,
          "rotary channels must be even, and at most head_dim", "channels", r.channels, "head_dim", head_dim);
}

inline void check_attention(char const* who, attention_shape const& s) {
  expects(s.kv_heads >= 1 && s.query_heads >= s.kv_heads && s.query_heads % s.kv_heads == 0, who,
          "query heads must be a multiple of KV heads", "query_heads", s.query_heads, "kv_heads", s.kv_heads);
  expects(s.key_dim >= 1 && s.value_dim >= 1, who, "heads must have channels", "key_dim", s.key_dim, "value_dim",
          s.value_dim);
  check_rotary(who, s.rotary, s.key_dim);
}

}  // namespace detail
}  // namespace tightkv
