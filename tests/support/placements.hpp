// SPDX-License-Identifier: Apache-2.0
/// Where each element of a layout lies, worked out here without the library's help.
///
/// A layout has a name, says whether its heads may differ in length (`varied`), how many elements of memory it takes,
/// at which of them element (head, token, channel) lies, and what plane views them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include <support/rows.hpp>
#include <tightkv/view/batch.hpp>
#include <tightkv/view/layouts.hpp>

namespace tests {

inline constexpr int page_size = 4;
inline constexpr int spare = 3;  // tokens, pages or cells that belong to nobody

/// `used` of `used + spare` pages, in no order.
template <class Index>
std::vector<Index> shuffled_pages(int used, unsigned seed = 7) {
  std::vector<Index> pages(static_cast<std::size_t>(used + spare));
  std::iota(pages.begin(), pages.end(), Index{0});
  std::shuffle(pages.begin(), pages.end(), std::mt19937(seed));
  pages.resize(static_cast<std::size_t>(used));
  return pages;
}

/// How planes in `Memory` get at tables that a test made on the host: as they are, or through a copy that `owner`
/// keeps.
template <class Memory>
struct table_in;
template <>
struct table_in<tightkv::host_memory> {
  template <class X>
  static X const* of(std::vector<X> const& table, std::shared_ptr<void>&) {
    return table.data();
  }
};

/// What all layouts share: the extents, with names as short as in the formulas.
class placement {
 public:
  placement(extents const& x, std::size_t element_bytes) : e(x), bytes(static_cast<std::ptrdiff_t>(element_bytes)) {}
  virtual ~placement() = default;

  virtual std::ptrdiff_t size() const = 0;
  virtual std::ptrdiff_t index(int h, int t, int d) const = 0;

  extents e;
  std::ptrdiff_t bytes;  // of an element
  std::ptrdiff_t heads = e.heads();
  std::ptrdiff_t tokens = e.longest();
  std::ptrdiff_t dim = e.head_dim;
  std::ptrdiff_t capacity = tokens + spare;
  std::ptrdiff_t used = (tokens + page_size - 1) / page_size;  // pages

 protected:
  tightkv::kv_shape shape() const { return {e.heads(), e.longest(), e.head_dim, e.longest() + spare}; }
  template <class Memory>
  int const* lengths(Memory) {
    return table_in<Memory>::of(e.lengths, lengths_copy_);
  }

 private:
  std::shared_ptr<void> lengths_copy_;
};

struct hnd_layout : placement {
  static constexpr auto name = "hnd";
  static constexpr bool varied = false;
  using placement::placement;
  std::ptrdiff_t size() const override { return heads * capacity * dim; }
  std::ptrdiff_t index(int h, int t, int d) const override { return (h * capacity + t) * dim + d; }
  template <class T, class Memory = tightkv::host_memory>
  auto plane(T* p, Memory memory = {}) {
    return tightkv::hnd(p, shape(), memory);
  }
};

struct nhd_layout : placement {
  static constexpr auto name = "nhd";
  static constexpr bool varied = false;
  using placement::placement;
  std::ptrdiff_t size() const override { return capacity * heads * dim; }
  std::ptrdiff_t index(int h, int t, int d) const override { return (t * heads + h) * dim + d; }
  template <class T, class Memory = tightkv::host_memory>
  auto plane(T* p, Memory memory = {}) {
    return tightkv::nhd(p, shape(), memory);
  }
};

/// Heads from last to first, tokens from last to first, gaps everywhere.
struct strided_layout : placement {
  static constexpr auto name = "strided, backwards, with gaps";
  static constexpr bool varied = false;
  using placement::placement;
  std::ptrdiff_t row = dim + 5;
  std::ptrdiff_t head = tokens * row + 11;
  std::ptrdiff_t size() const override { return heads * head; }
  std::ptrdiff_t index(int h, int t, int d) const override {
    return (heads - 1 - h) * head + (tokens - 1 - t) * row + d;
  }
  template <class T, class Memory = tightkv::host_memory>
  auto plane(T* p, Memory memory = {}) {
    return tightkv::plane(
        p + index(0, 0, 0),
        tightkv::strided{
            .heads = e.heads(), .tokens = e.longest(), .head_stride = -head * bytes, .token_stride = -row * bytes},
        e.head_dim, tightkv::contiguous{}, memory);
  }
};

struct transposed_layout : placement {
  static constexpr auto name = "transposed";
  static constexpr bool varied = false;
  using placement::placement;
  std::ptrdiff_t size() const override { return heads * dim * capacity; }
  std::ptrdiff_t index(int h, int t, int d) const override { return (h * dim + d) * capacity + t; }
  template <class T, class Memory = tightkv::host_memory>
  auto plane(T* p, Memory memory = {}) {
    return tightkv::transposed(p, shape(), memory);
  }
};

/// Pages, or cells, in a pool that has a few more.
template <class Index>
class with_table : public placement {
 public:
  with_table(extents const& x, std::size_t element_bytes, std::ptrdiff_t entries)
      : placement(x, element_bytes), table(shuffled_pages<Index>(static_cast<int>(entries))) {}

 protected:
  std::ptrdiff_t pages() const { return static_cast<std::ptrdiff_t>(table.size()) + spare; }
  std::ptrdiff_t page(std::ptrdiff_t i) const { return static_cast<std::ptrdiff_t>(table.data()[i]); }
  template <class Memory>
  Index const* entries(Memory) {
    return table_in<Memory>::of(table, copy_);
  }
  template <class Memory>
  tightkv::block_table<Index> blocks(Memory memory) {
    return {entries(memory), pages(), page_size};
  }

  std::vector<Index> table;

 private:
  std::shared_ptr<void> copy_;
};

inline int pages_of(extents const& e) { return (e.longest() + page_size - 1) / page_size; }

struct paged_nhd_layout : with_table<std::int32_t> {
  static constexpr auto name = "paged nhd";
  static constexpr bool varied = false;
  paged_nhd_layout(extents const& x, std::size_t element_bytes) : with_table(x, element_bytes, pages_of(x)) {}
  std::ptrdiff_t size() const override { return pages() * page_size * heads * dim; }
  std::ptrdiff_t index(int h, int t, int d) const override {
    return ((page(t / page_size) * page_size + t % page_size) * heads + h) * dim + d;
  }
  template <class T, class Memory = tightkv::host_memory>
  auto plane(T* p, Memory memory = {}) {
    return tightkv::paged_nhd(p, shape(), blocks(memory), memory);
  }
};

struct paged_hnd_layout : with_table<std::int64_t> {
  static constexpr auto name = "paged hnd, a length per head";
  static constexpr bool varied = true;
  paged_hnd_layout(extents const& x, std::size_t element_bytes) : with_table(x, element_bytes, pages_of(x)) {}
  std::ptrdiff_t size() const override { return pages() * heads * page_size * dim; }
  std::ptrdiff_t index(int h, int t, int d) const override {
    return ((page(t / page_size) * heads + h) * page_size + t % page_size) * dim + d;
  }
  template <class T, class Memory = tightkv::host_memory>
  auto plane(T* p, Memory memory = {}) {
    return tightkv::paged_hnd(p, shape(), blocks(memory), memory).with_lengths(lengths(memory));
  }
};

struct cells_layout : with_table<std::int32_t> {
  static constexpr auto name = "cells";
  static constexpr bool varied = false;
  cells_layout(extents const& x, std::size_t element_bytes) : with_table(x, element_bytes, x.longest()) {}
  std::ptrdiff_t size() const override { return pages() * heads * dim; }
  std::ptrdiff_t index(int h, int t, int d) const override { return (page(t) * heads + h) * dim + d; }
  template <class T, class Memory = tightkv::host_memory>
  auto plane(T* p, Memory memory = {}) {
    return tightkv::cells(p, shape(), entries(memory), pages(), memory);
  }
};

struct transposed_cells_layout : with_table<std::uint32_t> {
  static constexpr auto name = "transposed cells";
  static constexpr bool varied = false;
  transposed_cells_layout(extents const& x, std::size_t element_bytes) : with_table(x, element_bytes, x.longest()) {}
  std::ptrdiff_t size() const override { return heads * dim * pages(); }
  std::ptrdiff_t index(int h, int t, int d) const override { return (h * dim + d) * pages() + page(t); }
  template <class T, class Memory = tightkv::host_memory>
  auto plane(T* p, Memory memory = {}) {
    return tightkv::transposed_cells(p, shape(), entries(memory), pages(), memory);
  }
};

/// vLLM's first key layout, `[page][head][dim / x][page_size][x]`, x of 16 bytes.
struct grouped_layout : with_table<std::int32_t> {
  static constexpr auto name = "grouped";
  static constexpr bool varied = false;
  std::ptrdiff_t x = 16 / bytes;
  grouped_layout(extents const& y, std::size_t element_bytes) : with_table(y, element_bytes, pages_of(y)) {}
  std::ptrdiff_t size() const override { return pages() * heads * dim * page_size; }
  std::ptrdiff_t index(int h, int t, int d) const override {
    return (((page(t / page_size) * heads + h) * (dim / x) + d / x) * page_size + t % page_size) * x + d % x;
  }
  template <class T, class Memory = tightkv::host_memory>
  auto plane(T* p, Memory memory = {}) {
    tightkv::paged const where{.heads = e.heads(),
                               .tokens = e.longest(),
                               .block_table = entries(memory),
                               .pages = pages(),
                               .page_size = page_size,
                               .page_stride = heads * dim * page_size * bytes,
                               .head_stride = dim * page_size * bytes,
                               .token_stride = 16};
    return tightkv::plane(p, where, e.head_dim, tightkv::grouped{.size = static_cast<int>(x), .stride = page_size * 16},
                          memory);
  }
};

/// A table for each head, as engines with per-head budgets have it: a page holds rows of one head.
struct tables_per_head_layout : with_table<std::int32_t> {
  static constexpr auto name = "a table per head";
  static constexpr bool varied = true;
  tables_per_head_layout(extents const& x, std::size_t element_bytes)
      : with_table(x, element_bytes, pages_of(x) * x.heads()) {}
  std::ptrdiff_t size() const override { return pages() * page_size * dim; }
  std::ptrdiff_t index(int h, int t, int d) const override {
    return (page(h * used + t / page_size) * page_size + t % page_size) * dim + d;
  }
  template <class T, class Memory = tightkv::host_memory>
  auto plane(T* p, Memory memory = {}) {
    tightkv::paged const where{.heads = e.heads(),
                               .tokens = e.longest(),
                               .block_table = entries(memory),
                               .table_stride = used,
                               .pages = pages(),
                               .page_size = page_size,
                               .page_stride = page_size * dim * bytes,
                               .token_stride = dim * bytes};
    return tightkv::plane(p, where, e.head_dim, tightkv::contiguous{}, memory).with_lengths(lengths(memory));
  }
};

/// Pages by address, each `[something else of 8 elements][head][page_size][dim]`.
struct page_pointers_layout : with_table<std::int32_t> {
  static constexpr auto name = "page pointers";
  static constexpr bool varied = false;
  std::ptrdiff_t page_elements = 8 + heads * page_size * dim;
  std::vector<void*> addresses;
  std::shared_ptr<void> addresses_copy;

  page_pointers_layout(extents const& x, std::size_t element_bytes) : with_table(x, element_bytes, pages_of(x)) {}
  std::ptrdiff_t size() const override { return pages() * page_elements; }
  std::ptrdiff_t index(int h, int t, int d) const override {
    return page(t / page_size) * page_elements + 8 + (h * page_size + t % page_size) * dim + d;
  }
  template <class T, class Memory = tightkv::host_memory>
  auto plane(T* p, Memory memory = {}) {
    addresses.clear();
    for (auto const i : table) addresses.push_back(p + i * page_elements);
    tightkv::page_pointers const where{.heads = e.heads(),
                                       .tokens = e.longest(),
                                       .pages = table_in<Memory>::of(addresses, addresses_copy),
                                       .offset = 8 * bytes,
                                       .page_size = page_size,
                                       .head_stride = page_size * dim * bytes,
                                       .token_stride = dim * bytes};
    return tightkv::plane(static_cast<T*>(nullptr), where, e.head_dim, tightkv::contiguous{}, memory);
  }
};

/// Heads packed one after another.
struct packed_layout : placement {
  static constexpr auto name = "packed heads";
  static constexpr bool varied = true;
  std::vector<int> starts{2};
  std::shared_ptr<void> starts_copy;

  packed_layout(extents const& x, std::size_t element_bytes) : placement(x, element_bytes) {
    for (int const length : e.lengths) starts.push_back(starts.back() + length);
  }
  std::ptrdiff_t size() const override { return starts.back() * dim; }
  std::ptrdiff_t index(int h, int t, int d) const override {
    return (starts[static_cast<std::size_t>(h)] + t) * dim + d;
  }
  template <class T, class Memory = tightkv::host_memory>
  auto plane(T* p, Memory memory = {}) {
    return tightkv::packed_heads(p, table_in<Memory>::of(starts, starts_copy), e.heads(), e.head_dim, memory);
  }
};

/// Two sequences, each with memory and a length of its own: the first half of the heads, and the second.
struct batch_layout : placement {
  static constexpr auto name = "batch";
  static constexpr bool varied = true;
  using placement::placement;
  int half = e.heads() / 2;
  std::ptrdiff_t first_size = e.length(0) * half * dim + 13;
  std::shared_ptr<void> planes;

  std::ptrdiff_t size() const override { return first_size + e.length(half) * half * dim; }
  std::ptrdiff_t index(int h, int t, int d) const override {
    return (h < half ? 0 : first_size) + (t * half + h % half) * dim + d;
  }
  template <class T, class Memory = tightkv::host_memory>
  auto plane(T* p, Memory memory = {}) {
    auto const first = tightkv::nhd(p, {half, e.length(0), e.head_dim}, memory);
    auto const second = tightkv::nhd(p + first_size, {half, e.length(half), e.head_dim}, memory);
    auto const both = std::make_shared<std::vector<std::remove_const_t<decltype(first)>>>();
    *both = {first, second};
    planes = both;
    return tightkv::batch(*both);
  }
};

}  // namespace tests
