// SPDX-License-Identifier: Apache-2.0
/// The same model once more, as plainly as it can be said: double precision, the whole text at once, no cache.
#pragma once

#include <cmath>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <engine/tiny_model.hpp>

namespace test {

using row = std::vector<double>;
using rows = std::vector<row>;

struct plain_llama {
  tiny_model const& m;
  /// Whether a token sees an earlier one: eviction, seen from the outside.
  std::function<bool(int layer, int kv_head, int token, int earlier)> sees = [](int, int, int, int) { return true; };
  std::vector<rows> queries{};  ///< per layer, after RoPE

  /// Logits of every token.
  rows logits(std::span<int const> tokens) {
    auto const& s = m.shape;
    rows x;
    for (int const t : tokens) {
      auto const* e = &m.weights.at("token_embd")[static_cast<std::size_t>(t * s.width)];
      x.emplace_back(e, e + s.width);
    }
    for (int layer = 0; layer < s.layers; ++layer) {
      auto const name = [&](char const* part) { return "blk." + std::to_string(layer) + "." + part; };
      auto const normed = each(x, [&](row const& r) { return norm(name("attn_norm"), r); });
      auto q = each(normed, [&](row const& r) { return map(name("attn_q"), r); });
      auto k = each(normed, [&](row const& r) { return map(name("attn_k"), r); });
      auto const v = each(normed, [&](row const& r) { return map(name("attn_v"), r); });
      turn(q);
      turn(k);
      queries.push_back(q);
      auto const attended = attention(layer, q, k, v);
      for (std::size_t t = 0; t < x.size(); ++t) {
        add(x[t], map(name("attn_output"), attended[t]));
        auto const n = norm(name("ffn_norm"), x[t]);
        auto gate = map(name("ffn_gate"), n);
        auto const up = map(name("ffn_up"), n);
        for (std::size_t i = 0; i < gate.size(); ++i) gate[i] *= up[i] / (1 + std::exp(-gate[i]));
        add(x[t], map(name("ffn_down"), gate));
      }
    }
    auto const* output = m.weights.contains("output") ? "output" : "token_embd";
    return each(x, [&](row const& r) { return map(output, norm("output_norm", r)); });
  }

 private:
  template <class F>
  static rows each(rows const& from, F f) {
    rows result;
    for (auto const& r : from) result.push_back(f(r));
    return result;
  }
  static void add(row& to, row const& what) {
    for (std::size_t i = 0; i < to.size(); ++i) to[i] += what[i];
  }
  row map(std::string const& name, row const& in) const {
    auto const& w = m.weights.at(name);
    row out(w.size() / in.size());
    for (std::size_t o = 0; o < out.size(); ++o) {
      for (std::size_t i = 0; i < in.size(); ++i) out[o] += w[o * in.size() + i] * in[i];
    }
    return out;
  }
  row norm(std::string const& name, row r) const {
    double squares = 0;
    for (double const v : r) squares += v * v;
    auto const& w = m.weights.at(name);
    double const size = static_cast<double>(r.size());
    for (std::size_t i = 0; i < r.size(); ++i) r[i] *= w[i] / std::sqrt(squares / size + m.shape.rms_epsilon);
    return r;
  }
  void turn(rows& all) const {
    auto const& s = m.shape;
    for (std::size_t t = 0; t < all.size(); ++t) {
      for (std::size_t head = 0; head < all[t].size(); head += static_cast<std::size_t>(s.head_dim)) {
        for (int i = 0; i < s.rope_dimensions; i += 2) {
          double const angle = static_cast<double>(t) * std::pow(s.rope_base, -double(i) / s.rope_dimensions);
          double& a = all[t][head + static_cast<std::size_t>(i)];
          double& b = all[t][head + static_cast<std::size_t>(i) + 1];
          double const x = a;
          a = x * std::cos(angle) - b * std::sin(angle);
          b = x * std::sin(angle) + b * std::cos(angle);
        }
      }
    }
  }
  rows attention(int layer, rows const& q, rows const& k, rows const& v) const {
    auto const& s = m.shape;
    auto const dim = static_cast<std::size_t>(s.head_dim);
    rows out(q.size(), row(q[0].size()));
    for (std::size_t t = 0; t < q.size(); ++t) {
      for (std::size_t h = 0; h < static_cast<std::size_t>(s.query_heads); ++h) {
        auto const kv = h / static_cast<std::size_t>(s.query_heads / s.kv_heads);
        double total = 0;
        for (std::size_t e = 0; e <= t; ++e) {
          if (!sees(layer, static_cast<int>(kv), static_cast<int>(t), static_cast<int>(e))) continue;
          double dot = 0;
          for (std::size_t i = 0; i < dim; ++i) dot += q[t][h * dim + i] * k[e][kv * dim + i];
          double const weight = std::exp(dot / std::sqrt(s.head_dim));
          total += weight;
          for (std::size_t i = 0; i < dim; ++i) out[t][h * dim + i] += weight * v[e][kv * dim + i];
        }
        for (std::size_t i = 0; i < dim; ++i) out[t][h * dim + i] /= total;
      }
    }
    return out;
  }
};

}  // namespace test
