// SPDX-License-Identifier: Apache-2.0
/// What `layer.hpp` declares, compiled once per test family.
#pragma once

#include <support/any_order.hpp>
#include <support/layer.hpp>

#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <ostream>
#include <random>
#include <thread>
#include <utility>

namespace tests {

tensor tensor::some(int first, int count) const {
  tensor part{count, tokens, head_dim};
  auto const begin = data.begin() + first * tokens * head_dim;
  std::copy_n(begin, part.data.size(), part.data.begin());
  return part;
}

tensor rows_of(int head_dim, std::vector<float> data) {
  return {1, static_cast<int>(data.size()) / head_dim, head_dim, std::move(data)};
}

layer layer_of(tensor keys, tensor values, tensor queries) {
  tensor const zeros{1, keys.tokens, keys.head_dim};
  return {std::move(keys), values.tokens > 0 ? std::move(values) : zeros,
          queries.tokens > 0 ? std::move(queries) : zeros};
}

layer layer::only(int h) const { return {keys.some(h, 1), values.some(h, 1), queries.some(h * group(), group())}; }

namespace {

tensor random_tensor(tensor shape, unsigned seed) {
  std::mt19937 random(seed);
  for (float& x : shape.data) {
    double sum = -2.0;
    for (int i = 0; i < 4; ++i) sum += static_cast<double>(random()) * 0x1p-32;
    x = static_cast<float>(tightkv::bfloat16(static_cast<float>(sum * 1.7)));  // about unit variance
    if (std::fabs(x) < 0x1p-14F) x = 0.0F;                                     // half would round it
  }
  return shape;
}

}  // namespace

layer random_layer(layer_shape const& s) {
  return {random_tensor({s.kv_heads, s.tokens, s.head_dim}, 3 * s.seed),
          random_tensor({s.kv_heads, s.tokens, s.head_dim}, 3 * s.seed + 1),
          random_tensor({s.kv_heads * s.group, s.tokens, s.head_dim}, 3 * s.seed + 2)};
}

std::ostream& operator<<(std::ostream& out, memory_case const& c) {
  constexpr char const* layouts[] = {"hnd", "nhd", "paged_hnd", "paged_nhd", "transposed"};
  constexpr char const* types[] = {"f32", "f16", "bf16"};
  return out << layouts[static_cast<int>(c.layout)] << ' ' << types[static_cast<int>(c.type)] << ", head_dim "
             << c.head_dim << ", group " << c.group;
}

std::vector<memory_case> pairwise_cases() {
  constexpr int head_dims[] = {64, 80, 96, 128, 256};
  constexpr int groups[] = {1, 3, 7};
  std::vector<memory_case> cases;
  for (int l = 0; l < 5; ++l) {
    for (int d = 0; d < 5; ++d) {
      cases.push_back({static_cast<arrangement>(l), static_cast<element_type>((l + d) % 3), head_dims[d],
                       groups[(l + 2 * d) % 3]});
    }
  }
  return cases;
}

engine_memory::engine_memory(layer content, memory_case const& how, int tokens)
    : content_(std::move(content)),
      layout_(how.layout),
      type_(how.type),
      heads_(content_.keys.heads),
      head_dim_(content_.keys.head_dim),
      room_(std::max(1, content_.tokens())) {
  for (int i = 0; i < pool_pages(); ++i) pages_.push_back(i);
  std::mt19937 random(7);
  for (std::size_t i = pages_.size(); i > 1; --i) std::swap(pages_[i - 1], pages_[random() % i]);
  auto const elements = static_cast<std::size_t>(heads_ * pool_pages() * page_size * head_dim_);
  keys_.assign(elements * 4, std::byte{0xff});
  values_ = keys_;
  queries_.resize(std::max<std::size_t>(1, content_.queries.data.size()) * 4);
  positions_.assign(static_cast<std::size_t>(heads_ * room_), -1);
  append(tokens);
}
engine_memory::engine_memory(layer const& content, memory_case const& how)
    : engine_memory(content, how, content.tokens()) {}

void engine_memory::append(int count, int more_queries) {
  for (int h = 0; h < heads_; ++h) {
    for (int t = 0; t < count; ++t) {
      positions_[static_cast<std::size_t>(h * room_ + tokens_ + t)] = seen_ + t;
      for (int d = 0; d < head_dim_; ++d) {
        write(keys_, offset(h, tokens_ + t, d), content_.keys(h, seen_ + t, d));
        write(values_, offset(h, tokens_ + t, d), content_.values(h, seen_ + t, d));
      }
    }
  }
  tokens_ += count;
  seen_ += count;
  queries_in_view_ = std::min(tokens_, count + more_queries);
  std::size_t i = 0;
  for (int q = 0; q < content_.queries.heads; ++q) {
    for (int t = seen_ - queries_in_view_; t < seen_; ++t) {
      for (int d = 0; d < head_dim_; ++d) write(queries_, i++, content_.queries(q, t, d));
    }
  }
}

namespace {

template <class T>
T* typed(std::vector<std::byte>& bytes) {
  return static_cast<T*>(static_cast<void*>(bytes.data()));
}

}  // namespace

template <class T>
dense_view<T> engine_memory::dense() {
  auto const at = [&](T* data) {
    return layout_ == arrangement::nhd ? tightkv::nhd(data, shape()) : tightkv::hnd(data, shape());
  };
  return dense_view<T>(at(typed<T>(keys_)), at(typed<T>(values_)), queries<T>());
}

template <class T>
paged_view<T> engine_memory::paged() {
  tightkv::block_table<int> const table{pages_.data(), pool_pages(), page_size};
  auto const at = [&](T* data) {
    return layout_ == arrangement::paged_nhd ? tightkv::paged_nhd(data, shape(), table)
                                             : tightkv::paged_hnd(data, shape(), table);
  };
  return paged_view<T>(at(typed<T>(keys_)), at(typed<T>(values_)), queries<T>());
}

template <class T>
transposed_view<T> engine_memory::transposed() {
  return transposed_view<T>(tightkv::transposed(typed<T>(keys_), shape()),
                            tightkv::transposed(typed<T>(values_), shape()), queries<T>());
}

template <class T>
tightkv::plane<T const> engine_memory::queries() {
  T const* const data = typed<T>(queries_);
  return tightkv::hnd(data, {.heads = content_.queries.heads, .tokens = queries_in_view_, .head_dim = head_dim_});
}

template dense_view<float> engine_memory::dense();
template dense_view<tightkv::half> engine_memory::dense();
template dense_view<tightkv::bfloat16> engine_memory::dense();
template paged_view<float> engine_memory::paged();
template paged_view<tightkv::half> engine_memory::paged();
template paged_view<tightkv::bfloat16> engine_memory::paged();
template transposed_view<float> engine_memory::transposed();
template transposed_view<tightkv::half> engine_memory::transposed();
template transposed_view<tightkv::bfloat16> engine_memory::transposed();

byte_rows engine_memory::position_rows(int tokens) {
  auto* const bytes = static_cast<std::byte*>(static_cast<void*>(positions_.data()));
  return tightkv::hnd(bytes, {.heads = heads_, .tokens = tokens, .head_dim = sizeof(int), .capacity = room_});
}

std::vector<int> engine_memory::positions(int h) const {
  auto const first = positions_.begin() + h * room_;
  return {first, first + tokens_};
}

std::size_t engine_memory::offset(int h, int t, int d) const {
  int const page = pages_[static_cast<std::size_t>(t / page_size)];
  int at = 0;
  switch (layout_) {
    case arrangement::hnd: at = (h * room_ + t) * head_dim_ + d; break;
    case arrangement::nhd: at = (t * heads_ + h) * head_dim_ + d; break;
    case arrangement::paged_hnd: at = ((page * heads_ + h) * page_size + t % page_size) * head_dim_ + d; break;
    case arrangement::paged_nhd: at = ((page * page_size + t % page_size) * heads_ + h) * head_dim_ + d; break;
    case arrangement::transposed: at = (h * head_dim_ + d) * room_ + t; break;
  }
  return static_cast<std::size_t>(at);
}

void engine_memory::write(std::vector<std::byte>& to, std::size_t i, float x) const {
  std::uint16_t const bits = type_ == element_type::f16 ? tightkv::half(x).bits : tightkv::bfloat16(x).bits;
  if (type_ == element_type::f32) {
    std::memcpy(to.data() + i * 4, &x, 4);
  } else {
    std::memcpy(to.data() + i * 2, &bits, 2);
  }
}

float engine_memory::read(std::vector<std::byte> const& from, std::size_t i) const {
  float x = 0;
  std::uint16_t bits = 0;
  if (type_ == element_type::f32) {
    std::memcpy(&x, from.data() + i * 4, 4);
    return x;
  }
  std::memcpy(&bits, from.data() + i * 2, 2);
  tightkv::half h;
  tightkv::bfloat16 b;
  h.bits = b.bits = bits;
  return type_ == element_type::f16 ? static_cast<float>(h) : static_cast<float>(b);
}

void any_order::run(int n, void (*call)(void*, int), void* f) const {
  if (how == order::threads) {
    std::atomic<int> next{0};
    std::vector<std::thread> workers;
    for (int w = 0; w < 3; ++w) {
      workers.emplace_back([&] {
        for (int i = next++; i < n; i = next++) call(f, i);
      });
    }
    for (auto& w : workers) w.join();
  } else {
    for (int i = 0; i < n; ++i) call(f, how == order::forwards ? i : n - 1 - i);
  }
}

}  // namespace tests
