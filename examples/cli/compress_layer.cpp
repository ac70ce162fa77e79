// SPDX-License-Identifier: Apache-2.0
#include "compress_layer.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include <tightkv/methods/compress.hpp>
#include <tightkv/view/layouts.hpp>

namespace tightkv::cli {
namespace {

/// A tensor's rows as floats: queries may be of any dtype, whatever the keys are.
std::vector<float> as_floats(safetensors::tensor const& t) {
  std::vector<float> floats;
  auto const convert = [&]<class T>(T) {
    std::vector<T> storage;
    for (T const x : t.as<T>(storage)) floats.push_back(static_cast<float>(x));
  };
  switch (t.dtype) {
    case safetensors::dtype::f16:
      convert(half{});
      break;
    case safetensors::dtype::bf16:
      convert(bfloat16{});
      break;
    default:
      convert(float{});
  }
  return floats;
}

/// The cache an engine would have: room for all rows, some of them in use.
template <class T>
class growing_cache {
 public:
  explicit growing_cache(dumped_layer const& l)
      : layer_(l),
        dumped_keys_(l.keys->as<T>(key_storage_)),
        dumped_values_(l.values->as<T>(value_storage_)),
        keys_(size()),
        values_(size()),
        token_numbers_(stride(l.heads) * stride(l.tokens)) {
    if (l.queries != nullptr) queries_ = as_floats(*l.queries);
  }

  int rows() const noexcept { return rows_; }
  void shrink_to(int rows) noexcept { rows_ = rows; }

  /// Appends the dump's tokens [next, next + count).
  void append(int count) {
    copy_in(dumped_keys_, keys_, count);
    copy_in(dumped_values_, values_, count);
    for (int h = 0; h < layer_.heads; ++h) {
      auto const at = token_numbers_.begin() + static_cast<std::ptrdiff_t>(h) * layer_.tokens + rows_;
      std::iota(at, at + count, next_);
    }
    next_ += count;
    rows_ += count;
  }

  auto keys() { return hnd(keys_.data(), shape(layer_.head_dim)); }
  auto values() { return hnd(values_.data(), shape(layer_.head_dim)); }
  /// The token numbers travel with the rows, as an engine's positions would.
  auto token_numbers() { return hnd(reinterpret_cast<std::byte*>(token_numbers_.data()), shape(sizeof(std::int32_t))); }
  std::int32_t token_number(int head, int row) const {
    return token_numbers_[static_cast<std::size_t>(head) * stride(layer_.tokens) + static_cast<std::size_t>(row)];
  }

  /// Queries of the tokens so far, as many as the dump has and as there are rows.
  auto queries() {
    int const first_token = layer_.tokens - layer_.window;
    int const known = std::max(0, next_ - first_token);
    int const used = std::min(known, rows_);
    auto const row = static_cast<std::ptrdiff_t>(layer_.head_dim) * static_cast<std::ptrdiff_t>(sizeof(float));
    return plane(
        queries_.data() + (known - used) * layer_.head_dim,
        strided{.heads = layer_.query_heads, .tokens = used, .head_stride = layer_.window * row, .token_stride = row},
        layer_.head_dim);
  }

  /// Rows of one tensor, side by side: head h has the first `rows` of its rows.
  std::vector<std::byte> packed(std::vector<T> const& from, int rows) const {
    auto const head_bytes = stride(rows) * stride(layer_.head_dim) * sizeof(T);
    std::vector<std::byte> out(static_cast<std::size_t>(layer_.heads) * head_bytes);
    for (int h = 0; h < layer_.heads && head_bytes > 0; ++h) {
      std::memcpy(out.data() + static_cast<std::size_t>(h) * head_bytes, from.data() + offset(h, 0), head_bytes);
    }
    return out;
  }
  std::vector<std::byte> packed_keys(int rows) const { return packed(keys_, rows); }
  std::vector<std::byte> packed_values(int rows) const { return packed(values_, rows); }

 private:
  static std::size_t stride(int n) noexcept { return static_cast<std::size_t>(n); }
  std::size_t size() const noexcept { return stride(layer_.heads) * stride(layer_.tokens) * stride(layer_.head_dim); }
  std::size_t offset(int head, int row) const noexcept {
    return (stride(head) * stride(layer_.tokens) + stride(row)) * stride(layer_.head_dim);
  }
  kv_shape shape(int head_dim) const noexcept {
    return {.heads = layer_.heads, .tokens = rows_, .head_dim = head_dim, .capacity = layer_.tokens};
  }
  void copy_in(std::span<T const> from, std::vector<T>& to, int count) const {
    for (int h = 0; h < layer_.heads; ++h) {
      auto const first = from.begin() + static_cast<std::ptrdiff_t>(offset(h, next_));
      std::copy_n(first, stride(count) * stride(layer_.head_dim),
                  to.begin() + static_cast<std::ptrdiff_t>(offset(h, rows_)));
    }
  }

  dumped_layer const& layer_;
  std::vector<T> key_storage_, value_storage_;  // only where the file is not aligned
  std::span<T const> dumped_keys_, dumped_values_;
  std::vector<T> keys_, values_;
  std::vector<std::int32_t> token_numbers_;
  std::vector<float> queries_;
  int rows_ = 0;
  int next_ = 0;  // token of the dump
};

template <class T, class Ex, class M>
compressed_layer run(Ex const& ex, M const& method, dumped_layer const& layer, int chunk) {
  growing_cache<T> cache(layer);
  compressed_layer result;
  typename M::state state;
  state.expect(layer.tokens);

  auto const reduce = [&](auto const& view) {
    auto const start = std::chrono::steady_clock::now();
    auto const done = compress(ex, method, view, state, cache.token_numbers());
    result.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    result.lengths.assign(done.plan.lengths().begin(), done.plan.lengths().end());
    result.nan_scores += done.plan.nan_scores;
    return done;
  };
  std::vector<std::int32_t> numbers;
  for (int next = 0; next < std::max(1, layer.tokens); next += chunk) {
    cache.append(std::min(chunk, layer.tokens - next));
    numbers.clear();  // whose scores the rows of this step will be
    for (int h = 0; h < layer.heads; ++h) {
      for (int r = 0; r < cache.rows(); ++r) numbers.push_back(cache.token_number(h, r));
    }
    int const rows = cache.rows();
    auto const done = [&] {
      using full_view = decltype(kv_view{cache.keys(), cache.values()});
      if constexpr (method_for<M, Ex, full_view>) {
        return reduce(kv_view{cache.keys(), cache.values()});
      } else {
        return reduce(kv_view{cache.keys(), cache.values(), cache.queries()});
      }
    }();
    if (done.scores.rows() > 0 && !result.has_scores) {
      result.has_scores = true;
      result.scores.assign(static_cast<std::size_t>(layer.heads) * static_cast<std::size_t>(layer.tokens), unjudged);
    }
    for (int h = 0; h < done.scores.rows(); ++h) {
      for (int r = 0; r < rows; ++r) {
        auto const token =
            numbers[static_cast<std::size_t>(h) * static_cast<std::size_t>(rows) + static_cast<std::size_t>(r)];
        float const score = done.scores(h, r);
        if (!std::isnan(score)) {
          result.scores[static_cast<std::size_t>(h) * static_cast<std::size_t>(layer.tokens) +
                        static_cast<std::size_t>(token)] = score;
        }
      }
    }
    cache.shrink_to(*std::max_element(result.lengths.begin(), result.lengths.end()));
  }

  result.rows = cache.rows();
  result.keys = cache.packed_keys(result.rows);
  result.values = cache.packed_values(result.rows);
  for (int h = 0; h < layer.heads; ++h) {
    for (int r = 0; r < result.rows; ++r) {
      result.kept.push_back(r < result.lengths[static_cast<std::size_t>(h)] ? cache.token_number(h, r) : -1);
    }
  }
  return result;
}

}  // namespace

compressed_layer compress_layer(executor_choice const& chosen, method_choice const& choice, dumped_layer const& layer,
                                int chunk) {
  return std::visit(
      [&](auto const& ex, auto const& method) {
        switch (layer.keys->dtype) {
          case safetensors::dtype::f16:
            return run<half>(ex, method, layer, chunk);
          case safetensors::dtype::bf16:
            return run<bfloat16>(ex, method, layer, chunk);
          default:
            return run<float>(ex, method, layer, chunk);
        }
      },
      chosen, choice.method());
}

compressed_layer keep_layer(dumped_layer const& layer) {
  compressed_layer whole;
  whole.lengths.assign(static_cast<std::size_t>(layer.heads), layer.tokens);
  whole.rows = layer.tokens;
  whole.keys.assign(layer.keys->bytes.begin(), layer.keys->bytes.end());
  whole.values.assign(layer.values->bytes.begin(), layer.values->bytes.end());
  for (int h = 0; h < layer.heads; ++h) {
    for (int t = 0; t < layer.tokens; ++t) whole.kept.push_back(t);
  }
  return whole;
}

}  // namespace tightkv::cli
