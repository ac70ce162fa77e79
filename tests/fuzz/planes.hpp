// SPDX-License-Identifier: Apache-2.0
/// Random caches in every layout, with memory of exactly the size they claim and an independent word on where rows are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <fuzz/support.hpp>
#include <tightkv/core/half.hpp>
#include <tightkv/view/layouts.hpp>
#include <tightkv/view/plane.hpp>

namespace fuzz {

/// The memory of a cache, and where the value (head, token, channel) belongs in it.
struct cache {
  std::vector<std::byte> bytes;
  std::vector<std::int32_t> table32;
  std::vector<std::int64_t> table64;
  std::vector<void*> pointers;
  std::vector<int> starts;
  std::function<std::ptrdiff_t(int, int, int)> offset;

  /// Memory for `count` elements of T, or for none where nothing that large can be meant.
  template <class T>
  T* reserve(numbers& in, std::int64_t count) {
    constexpr std::int64_t most = 8192;
    bool const sane = 0 <= count && count <= most;
    bytes.assign(sane ? static_cast<std::size_t>(count) * sizeof(T) : 0, std::byte{});
    fits = sane;
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 31 + i / 251);
    auto* const data = bytes.data();
    if (in.one_in(64)) return nullptr;
    if (in.one_in(64)) {  // not aligned, where T has an alignment
      fits = fits && alignof(T) > 1;
      return reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(data) + 1);
    }
    return static_cast<T*>(static_cast<void*>(data));
  }
  bool fits = false;  // the memory is what the plane was told
};

/// Calls `use(plane, cache)` with a plane of T made from `in`, or lets `bad_argument` out. With `unique`, no two rows
/// share memory.
template <class T, class Use>
void with_plane_of(numbers& in, bool unique, Use&& use) {
  using namespace tightkv;
  cache c;
  auto const used = [&](auto const& p) {
    if (c.fits) use(p, c);
  };
  int const heads = in.in(0, 3), tokens = in.in(0, 12), dim = in.in(1, 8), spare = in.in(0, 3);
  kv_shape const s{.heads = in.or_wrong(heads),
                   .tokens = in.or_wrong(tokens),
                   .head_dim = in.or_wrong(dim),
                   .capacity = in.or_wrong(tokens + spare)};
  auto const volume = [](std::int64_t a, std::int64_t b, std::int64_t d) {  // -1 where it is no small volume
    for (auto const n : {a, b, d}) {
      if (n < 0 || n > 4096) return std::int64_t{-1};
    }
    return a * b * d;
  };
  constexpr std::ptrdiff_t size = sizeof(T);

  int const page_size = in.or_wrong(in.in(1, 5));
  std::int64_t const needed = page_size < 1 || s.tokens < 1 ? 0 : (s.tokens - 1) / page_size + 1;
  std::int64_t const pages = needed > 4096 ? 0 : needed + in.in(0, 3);
  // A table of exactly the entries that are needed: distinct ones, now and then a repeated or a wrong one.
  auto const fill = [&](auto& table) {
    using index = typename std::remove_reference_t<decltype(table)>::value_type;
    table.assign(needed > 4096 ? 0 : static_cast<std::size_t>(needed), index{});
    int const first = pages == 0 ? 0 : in.in(0, static_cast<int>(pages) - 1);
    bool const backwards = in.one_in(2);
    for (std::size_t i = 0; i < table.size(); ++i) {
      auto const at = static_cast<std::int64_t>(i);
      table[i] = static_cast<index>((first + (backwards ? pages - at : at)) % pages);
      if (!unique && in.one_in(8)) table[i] = static_cast<index>(in.in(0, static_cast<int>(pages) - 1));
      if (in.one_in(64)) table[i] = static_cast<index>(in.one_in(2) ? pages : -1);
    }
    return table.data();
  };
  auto const page = [&](int t) {
    auto const i = static_cast<std::size_t>(t / page_size);
    return static_cast<std::ptrdiff_t>(c.table32.empty() ? c.table64[i] : c.table32[i]);
  };
  std::ptrdiff_t const h = s.heads, d = s.head_dim, cap = s.capacity, ps = page_size;

  switch (in.in(0, 9)) {
    case 0:
      c.offset = [=](int i, int t, int e) { return ((i * cap + t) * d + e) * size; };
      return used(hnd(c.reserve<T>(in, volume(h, cap, d)), s));
    case 1:
      c.offset = [=](int i, int t, int e) { return ((t * h + i) * d + e) * size; };
      return used(nhd(c.reserve<T>(in, volume(h, s.tokens, d)), s));
    case 2:
      c.offset = [=](int i, int t, int e) { return ((i * d + e) * cap + t) * size; };
      return used(transposed(c.reserve<T>(in, volume(h, cap, d)), s));
    case 3: {
      auto* const data = c.reserve<T>(in, volume(pages, ps * h, d));
      auto const* const table = fill(c.table32);
      c.offset = [=](int i, int t, int e) { return (((page(t) * ps + t % ps) * h + i) * d + e) * size; };
      return used(paged_nhd(data, s, block_table{table, pages, page_size}));
    }
    case 4: {
      auto* const data = c.reserve<T>(in, volume(pages, ps * h, d));
      auto const* const table = fill(c.table64);
      c.offset = [=](int i, int t, int e) { return (((page(t) * h + i) * ps + t % ps) * d + e) * size; };
      return used(paged_hnd(data, s, block_table{table, pages, page_size}));
    }
    case 5: {
      if (page_size != 1) break;
      auto* const data = c.reserve<T>(in, volume(pages, h, d));
      auto const* const table = fill(c.table32);
      c.offset = [=](int i, int t, int e) { return ((page(t) * h + i) * d + e) * size; };
      return used(cells(data, s, table, pages));
    }
    case 6: {
      if (page_size != 1) break;
      auto* const data = c.reserve<T>(in, volume(h, d, pages));
      auto const* const table = fill(c.table64);
      c.offset = [=](int i, int t, int e) { return ((i * d + e) * pages + page(t)) * size; };
      return used(transposed_cells(data, s, table, pages));
    }
    case 7: {  // packed heads; two starts now and then the wrong way round
      int const count = in.in(0, 3);
      c.starts.push_back(in.or_wrong(0));
      for (int i = 0; i < count; ++i)
        c.starts.push_back(in.or_wrong(std::clamp(c.starts.back(), -64, 64) + in.in(0, 6)));
      int const last = *std::max_element(c.starts.begin(), c.starts.end());
      auto* const data = c.reserve<T>(in, volume(1, last, d));
      c.offset = [=, &c](int i, int t, int e) { return ((c.starts[static_cast<std::size_t>(i)] + t) * d + e) * size; };
      return used(packed_heads(data, c.starts.data(), count, s.head_dim));
    }
    case 8: {  // any strides, also negative ones and, unless `unique`, ones that overlap
      if (volume(h, s.tokens, d) < 0) break;
      auto const gap = in.in(0, 3);
      bool const tokens_outside = in.one_in(2);
      std::ptrdiff_t row = d * size + gap,
                     outer = row * (tokens_outside ? std::max(heads, 1) : std::max(tokens, 1)) + gap;
      if (!unique && in.one_in(8)) row = gap;
      std::ptrdiff_t hs = (tokens_outside ? row : outer) * (in.one_in(4) ? -1 : 1);
      std::ptrdiff_t ts = (tokens_outside ? outer : row) * (in.one_in(4) ? -1 : 1);
      if (s.heads != heads || s.tokens != tokens) break;
      auto const most_h = std::max<std::ptrdiff_t>(h - 1, 0) * hs,
                 most_t = std::max<std::ptrdiff_t>(s.tokens - 1, 0) * ts;
      auto const low = std::min<std::ptrdiff_t>(most_h, 0) + std::min<std::ptrdiff_t>(most_t, 0);
      auto const high = std::max<std::ptrdiff_t>(most_h, 0) + std::max<std::ptrdiff_t>(most_t, 0) + d * size;
      auto* const data = c.reserve<std::byte>(in, (high - low));
      if (data == nullptr || data != c.bytes.data()) break;
      auto* const base = data - low;
      if (reinterpret_cast<std::uintptr_t>(base) % alignof(T) != 0) break;
      c.offset = [=](int i, int t, int e) { return -low + i * hs + t * ts + e * size; };
      return used(plane(static_cast<T*>(static_cast<void*>(base)),
                        strided{.heads = s.heads, .tokens = s.tokens, .head_stride = hs, .token_stride = ts},
                        s.head_dim));
    }
    default: {  // a table of addresses
      auto* const data = c.reserve<T>(in, volume(pages, ps * h, d));
      if (data == nullptr || static_cast<void*>(data) != c.bytes.data()) break;
      fill(c.table32);
      auto const page_bytes = ps * h * d * size;
      for (auto const p : c.table32) {
        bool const known = 0 <= p && p < pages;
        c.pointers.push_back(known ? c.bytes.data() + p * page_bytes : nullptr);
      }
      c.offset = [=](int i, int t, int e) { return (((page(t) * h + i) * ps + t % ps) * d + e) * size; };
      return used(plane(static_cast<T*>(nullptr),
                        page_pointers{.heads = s.heads,
                                      .tokens = s.tokens,
                                      .pages = c.pointers.data(),
                                      .page_size = page_size,
                                      .head_stride = ps * d * size,
                                      .token_stride = d * size},
                        s.head_dim));
    }
  }
}

/// The same, the element type chosen by `in`, too.
template <class Use>
void with_plane(numbers& in, bool unique, Use&& use) {
  switch (in.in(0, 2)) {
    case 0:
      return with_plane_of<float>(in, unique, use);
    case 1:
      return with_plane_of<tightkv::half>(in, unique, use);
    default:
      return with_plane_of<std::byte>(in, unique, use);
  }
}

}  // namespace fuzz
