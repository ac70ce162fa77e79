// SPDX-License-Identifier: Apache-2.0
/// `compress_layer` for any executor. Slow to compile: included once for each.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <span>

#include <tightkv/methods/compress.hpp>
#include <tightkv/view/layouts.hpp>

#include "compress_layer.hpp"

namespace tightkv::cli {

/// An array of the imagined engine, where the executor can reach it.
template <class X, class Memory>
class array_in;

template <class X>
class array_in<X, host_memory> {
 public:
  explicit array_in(std::size_t size) : content_(size) {}

  X* data() noexcept { return content_.data(); }
  void write(std::size_t at, std::span<X const> from) {
    std::copy(from.begin(), from.end(), content_.begin() + static_cast<std::ptrdiff_t>(at));
  }
  std::vector<X> const& on_host() const noexcept { return content_; }

 private:
  std::vector<X> content_;
};

// As the library's own `to_host`, where there is nothing to copy.
template <class F>
plan const& to_host(basic_plain_cpu<F> const&, plan const& p) {
  return p;
}
template <class F>
matrix<float> const& to_host(basic_plain_cpu<F> const&, matrix<float> const& m) {
  return m;
}
/// A tensor's rows as floats: queries may be of any dtype, whatever the keys are.
inline std::vector<float> as_floats(safetensors::tensor const& t) {
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
template <class T, class Memory>
class growing_cache {
 public:
  explicit growing_cache(dumped_layer const& l)
      : layer_(l),
        dumped_keys_(l.keys->as<T>(key_storage_)),
        dumped_values_(l.values->as<T>(value_storage_)),
        keys_(size()),
        values_(size()),
        token_numbers_(stride(l.heads) * stride(l.tokens)) {
    if (l.queries == nullptr) return;
    auto const queries = as_floats(*l.queries);
    queries_ = array_in<float, Memory>(queries.size());
    queries_.write(0, queries);
  }

  int rows() const noexcept { return rows_; }
  void shrink_to(int rows) noexcept { rows_ = rows; }

  /// Appends the dump's tokens [next, next + count).
  void append(int count) {
    copy_in(dumped_keys_, keys_, count);
    copy_in(dumped_values_, values_, count);
    for (int h = 0; h < layer_.heads; ++h) {
      std::vector<std::int32_t> numbers(stride(count));
      std::iota(numbers.begin(), numbers.end(), next_);
      token_numbers_.write(stride(h) * stride(layer_.tokens) + stride(rows_), numbers);
    }
    next_ += count;
    rows_ += count;
  }

  auto keys() { return hnd(keys_.data(), shape(layer_.head_dim), Memory{}); }
  auto values() { return hnd(values_.data(), shape(layer_.head_dim), Memory{}); }
  /// The token numbers travel with the rows, as an engine's positions would.
  auto token_numbers() {
    return hnd(reinterpret_cast<std::byte*>(token_numbers_.data()), shape(sizeof(std::int32_t)), Memory{});
  }
  /// Those of the rows that are there, head by head.
  std::vector<std::int32_t> numbers_of_rows() const {
    auto const& all = token_numbers_.on_host();
    std::vector<std::int32_t> numbers;
    for (int h = 0; h < layer_.heads; ++h) {
      auto const first = all.begin() + static_cast<std::ptrdiff_t>(h) * layer_.tokens;
      numbers.insert(numbers.end(), first, first + rows_);
    }
    return numbers;
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
        layer_.head_dim, contiguous{}, Memory{});
  }

  /// Rows of one tensor, side by side: head h has the first `rows` of its rows.
  std::vector<std::byte> packed(array_in<T, Memory> const& array, int rows) const {
    auto const& from = array.on_host();
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
  void copy_in(std::span<T const> from, array_in<T, Memory>& to, int count) const {
    for (int h = 0; h < layer_.heads; ++h) {
      to.write(offset(h, rows_), from.subspan(offset(h, next_), stride(count) * stride(layer_.head_dim)));
    }
  }

  dumped_layer const& layer_;
  std::vector<T> key_storage_, value_storage_;  // only where the file is not aligned
  std::span<T const> dumped_keys_, dumped_values_;
  array_in<T, Memory> keys_, values_;
  array_in<std::int32_t, Memory> token_numbers_;
  array_in<float, Memory> queries_{0};
  int rows_ = 0;
  int next_ = 0;  // token of the dump
};

template <class T, class Ex, class M>
compressed_layer compress_layer_of(Ex const& ex, M const& method, dumped_layer const& layer, int chunk) {
  growing_cache<T, typename Ex::memory> cache(layer);
  compressed_layer result;
  state_of<M, Ex> state;
  state.expect(layer.tokens);

  auto const reduce = [&](auto const& view) {
    auto const start = std::chrono::steady_clock::now();
    auto done = compress(ex, method, view, state, cache.token_numbers());
    if constexpr (requires { ex.wait(); }) ex.wait();
    result.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    result.lengths.assign(done.plan.lengths().begin(), done.plan.lengths().end());
    result.nan_scores += to_host(ex, done.plan).nan_scores;
    return done;
  };
  for (int next = 0; next < std::max(1, layer.tokens); next += chunk) {
    cache.append(std::min(chunk, layer.tokens - next));
    auto const numbers = cache.numbers_of_rows();  // whose scores the rows of this step will be
    int const rows = cache.rows();
    auto const done = [&] {
      using full_view = decltype(kv_view{cache.keys(), cache.values()});
      if constexpr (method_for<M, Ex, full_view>) {
        return reduce(kv_view{cache.keys(), cache.values()});
      } else {
        return reduce(kv_view{cache.keys(), cache.values(), cache.queries()});
      }
    }();
    auto const& scores = to_host(ex, done.scores);
    if (scores.rows() > 0 && !result.has_scores) {
      result.has_scores = true;
      result.scores.assign(static_cast<std::size_t>(layer.heads) * static_cast<std::size_t>(layer.tokens), unjudged);
    }
    for (int h = 0; h < scores.rows(); ++h) {
      for (int r = 0; r < rows; ++r) {
        auto const token =
            numbers[static_cast<std::size_t>(h) * static_cast<std::size_t>(rows) + static_cast<std::size_t>(r)];
        float const score = scores(h, r);
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
  auto const numbers = cache.numbers_of_rows();
  for (int h = 0; h < layer.heads; ++h) {
    for (int r = 0; r < result.rows; ++r) {
      bool const there = r < result.lengths[static_cast<std::size_t>(h)];
      result.kept.push_back(there ? numbers[static_cast<std::size_t>(h * result.rows + r)] : -1);
    }
  }
  return result;
}

template <class Ex>
compressed_layer compress_layer_on(Ex const& ex, method_choice const& choice, dumped_layer const& layer, int chunk) {
  return std::visit(
      [&](auto const& method) {
        switch (layer.keys->dtype) {
          case safetensors::dtype::f16:
            return compress_layer_of<half>(ex, method, layer, chunk);
          case safetensors::dtype::bf16:
            return compress_layer_of<bfloat16>(ex, method, layer, chunk);
          default:
            return compress_layer_of<float>(ex, method, layer, chunk);
        }
      },
      choice.method());
}

}  // namespace tightkv::cli
