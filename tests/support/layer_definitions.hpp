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
#include <type_traits>
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

namespace {

struct placement {
  arrangement keys;
  element_type keys_type;
  arrangement values;
  element_type values_type;
};

placement placement_of(memory_case const& c) {
  auto const dense_rows = c.heads_inside ? arrangement::nhd : arrangement::hnd;
  auto const pages = c.heads_inside ? arrangement::paged_nhd : arrangement::paged_hnd;
  switch (c.kind) {
    case planes::half_keys_transposed_values:
      return {dense_rows, element_type::f16, arrangement::transposed, element_type::f16};
    case planes::paged_keys_dense_values:
      return {pages, element_type::bf16, dense_rows, element_type::bf16};
    case planes::transposed_keys_paged_values:
      return {arrangement::transposed, element_type::f32, pages, element_type::f16};
    case planes::mixed:
      return {pages, element_type::f32, arrangement::transposed, element_type::bf16};
    case planes::floats:
      break;
  }
  return {dense_rows, element_type::f32, dense_rows, element_type::f32};
}

constexpr int page_size = 4;

std::size_t width(element_type type) { return type == element_type::f32 ? 4 : 2; }

void store(element_type type, std::byte* to, float x) {
  std::uint16_t const bits = type == element_type::f16 ? tightkv::half(x).bits : tightkv::bfloat16(x).bits;
  std::memcpy(to, type == element_type::f32 ? static_cast<void const*>(&x) : &bits, width(type));
}

float load(element_type type, std::byte const* from) {
  float x = 0;
  tightkv::half h;
  tightkv::bfloat16 b;
  void* const to = type == element_type::f32 ? static_cast<void*>(&x) : type == element_type::f16 ? &h.bits : &b.bits;
  std::memcpy(to, from, width(type));
  return type == element_type::f32 ? x : type == element_type::f16 ? static_cast<float>(h) : static_cast<float>(b);
}

}  // namespace

std::ostream& operator<<(std::ostream& out, memory_case const& c) {
  return out << "planes " << static_cast<int>(c.kind) << (c.heads_inside ? " nhd" : " hnd") << ", head_dim "
             << c.head_dim << ", group " << c.group;
}

std::vector<memory_case> pairwise_cases() {
  constexpr int head_dims[] = {64, 80, 96, 128, 256};
  constexpr int groups[] = {1, 3, 7};
  std::vector<memory_case> cases;
  for (int p = 0; p < 5; ++p) {
    for (int d = 0; d < 5; ++d) {
      cases.push_back({static_cast<planes>(p), (p + d) % 2 == 0, head_dims[d], groups[(p + 2 * d) % 3]});
    }
  }
  return cases;
}

plane_memory::plane_memory(arrangement l, element_type t, tightkv::kv_shape const& s) : layout(l), type(t), shape(s) {
  for (int i = 0; i < (s.capacity + page_size - 1) / page_size + 2; ++i) pages.push_back(i);
  auto const count = static_cast<std::size_t>(s.heads * s.head_dim * page_size) * pages.size();
  bytes.assign(count * width(type), std::byte{0xff});
  std::mt19937 random(7);
  for (std::size_t i = pages.size(); i > 1; --i) std::swap(pages[i - 1], pages[random() % i]);
}

std::size_t plane_memory::offset(int h, int t, int d) const {
  int const page = pages[static_cast<std::size_t>(t / page_size)];
  int at = 0;
  switch (layout) {
    case arrangement::hnd:
      at = (h * shape.capacity + t) * shape.head_dim + d;
      break;
    case arrangement::nhd:
      at = (t * shape.heads + h) * shape.head_dim + d;
      break;
    case arrangement::paged_hnd:
      at = ((page * shape.heads + h) * page_size + t % page_size) * shape.head_dim + d;
      break;
    case arrangement::paged_nhd:
      at = ((page * page_size + t % page_size) * shape.heads + h) * shape.head_dim + d;
      break;
    case arrangement::transposed:
      at = (h * shape.head_dim + d) * shape.capacity + t;
      break;
  }
  return static_cast<std::size_t>(at) * width(type);
}
float plane_memory::read(int h, int t, int d) const { return load(type, bytes.data() + offset(h, t, d)); }
void plane_memory::write(int h, int t, int d, float x) { store(type, bytes.data() + offset(h, t, d), x); }

template <class Plane>
Plane plane_memory::rows(int tokens) {
  using value = typename Plane::value_type;
  auto* const data = static_cast<value*>(static_cast<void*>(bytes.data()));
  tightkv::kv_shape now = shape;
  now.tokens = tokens;
  tightkv::block_table<int> const table{pages.data(), static_cast<std::int64_t>(pages.size()), page_size};
  if constexpr (std::is_same_v<Plane, dense<value>>) {
    return layout == arrangement::nhd ? tightkv::nhd(data, now) : tightkv::hnd(data, now);
  } else if constexpr (std::is_same_v<Plane, paged<value>>) {
    return layout == arrangement::paged_nhd ? tightkv::paged_nhd(data, now, table)
                                            : tightkv::paged_hnd(data, now, table);
  } else {
    return tightkv::transposed(data, now);
  }
}

engine_memory::engine_memory(layer content, memory_case const& how, int tokens)
    : content_(std::move(content)),
      kind_(how.kind),
      keys_(placement_of(how).keys, placement_of(how).keys_type, room()),
      values_(placement_of(how).values, placement_of(how).values_type, room()),
      queries_(std::max<std::size_t>(1, content_.queries.data.size()) * 4),
      positions_(static_cast<std::size_t>(heads() * room().capacity), -1) {
  append(tokens);
}
engine_memory::engine_memory(layer const& content, memory_case const& how)
    : engine_memory(content, how, content.tokens()) {}

tightkv::kv_shape engine_memory::room() const {
  auto const& k = content_.keys;
  return {.heads = k.heads, .tokens = 0, .head_dim = k.head_dim, .capacity = std::max(1, k.tokens)};
}

void engine_memory::append(int count, int more_queries) {
  int const head_dim = content_.keys.head_dim;
  for (int h = 0; h < heads(); ++h) {
    for (int t = 0; t < count; ++t) {
      positions_[static_cast<std::size_t>(h * room().capacity + tokens_ + t)] = seen_ + t;
      for (int d = 0; d < head_dim; ++d) {
        keys_.write(h, tokens_ + t, d, content_.keys(h, seen_ + t, d));
        values_.write(h, tokens_ + t, d, content_.values(h, seen_ + t, d));
      }
    }
  }
  tokens_ += count;
  seen_ += count;
  queries_in_view_ = std::min(tokens_, count + more_queries);
  std::byte* to = queries_.data();
  for (int q = 0; q < content_.queries.heads; ++q) {
    for (int t = seen_ - queries_in_view_; t < seen_; ++t) {
      for (int d = 0; d < head_dim; ++d, to += width(keys_.type)) store(keys_.type, to, content_.queries(q, t, d));
    }
  }
}

template <class View>
View engine_memory::as() {
  using query = typename decltype(View::queries)::element_type;
  auto const* const queries = static_cast<query*>(static_cast<void const*>(queries_.data()));
  return View(
      keys_.rows<decltype(View::keys)>(tokens_), values_.rows<decltype(View::values)>(tokens_),
      tightkv::hnd(queries,
                   {.heads = content_.queries.heads, .tokens = queries_in_view_, .head_dim = content_.keys.head_dim}));
}
template floats_view engine_memory::as();
template half_keys_transposed_values_view engine_memory::as();
template paged_keys_dense_values_view engine_memory::as();
template transposed_keys_paged_values_view engine_memory::as();
template mixed_view engine_memory::as();

dense<std::byte> engine_memory::position_rows(int tokens) {
  auto* const bytes = static_cast<std::byte*>(static_cast<void*>(positions_.data()));
  return tightkv::hnd(
      bytes,
      {.heads = heads(), .tokens = tokens, .head_dim = sizeof(int), .capacity = std::max(tokens, room().capacity)});
}

std::vector<int> engine_memory::positions(int h) const {
  auto const first = positions_.begin() + h * room().capacity;
  return {first, first + tokens_};
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
