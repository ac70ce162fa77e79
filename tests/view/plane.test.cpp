// SPDX-License-Identifier: Apache-2.0
/// What planes refuse, and what they say about it.
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <tightkv/view/batch.hpp>
#include <tightkv/view/layouts.hpp>

namespace plane_test {

using tightkv::half;

template <class F>
std::string refusal(F&& f) {
  try {
    f();
  } catch (tightkv::bad_argument const& e) {
    return e.what();
  }
  return "nothing was refused";
}

float data[64];
half halves[64];
float* const null = nullptr;

TEST(plane, refuses_null_data_unless_it_has_no_rows) {
  EXPECT_EQ(refusal([] { tightkv::hnd(null, {2, 3, 4}); }), "tightkv::plane: data must not be null");
  EXPECT_NO_THROW(tightkv::hnd(null, {2, 0, 4}));
  EXPECT_NO_THROW(tightkv::hnd(null, {0, 3, 4}));
  EXPECT_EQ(tightkv::longest(tightkv::hnd(null, {2, 0, 4})), 0);
}

TEST(plane, refuses_a_head_dim_below_one_and_negative_extents) {
  EXPECT_EQ(refusal([] {
              tightkv::hnd(data, {2, 3, 0});
            }),
            "tightkv::hnd: head_dim must be at least 1 (got head_dim = 0)");
  EXPECT_EQ(refusal([] {
              tightkv::plane(data, tightkv::strided{1, 1, 0, 0}, 0);
            }),
            "tightkv::plane: head_dim must be at least 1 (got head_dim = 0)");
  EXPECT_EQ(refusal([] {
              tightkv::nhd(data, {-1, 3, 4});
            }),
            "tightkv::nhd: heads must not be negative (got heads = -1)");
  EXPECT_EQ(refusal([] {
              tightkv::transposed(data, {1, -3, 4});
            }),
            "tightkv::transposed: tokens must not be negative (got tokens = -3)");
}

TEST(plane, refuses_a_capacity_below_tokens) {
  EXPECT_EQ(refusal([] { tightkv::hnd(data, {.heads = 1, .tokens = 3, .head_dim = 4, .capacity = 2}); }),
            "tightkv::hnd: capacity must be at least tokens (got capacity = 2, tokens = 3)");
}

TEST(plane, refuses_strides_and_data_that_are_not_aligned) {
  EXPECT_EQ(refusal([] {
              tightkv::plane(halves, tightkv::strided{1, 2, 0, 5}, 2);
            }),
            "tightkv::strided: strides (bytes) must be multiples of the element's alignment (got token_stride = 5, "
            "alignment = 2)");
  EXPECT_NE(refusal([] {
              tightkv::plane(data, tightkv::strided{1, 2, 6, 8}, 2);
            }).find("head_stride = 6"),
            std::string::npos);
  auto* const odd = reinterpret_cast<half*>(reinterpret_cast<char*>(halves) + 1);
  EXPECT_EQ(refusal([&] { tightkv::hnd(odd, {1, 1, 4}); }), "tightkv::plane: data must be aligned to its elements");
  EXPECT_NE(refusal([] {
              tightkv::plane(halves, tightkv::strided{1, 2, 0, 2}, 4, tightkv::grouped{.size = 1, .stride = 3});
            }).find("stride = 3"),
            std::string::npos);
  auto* const bytes = reinterpret_cast<std::byte*>(halves) + 1;  // bytes may lie anywhere
  EXPECT_NO_THROW(tightkv::plane(bytes, tightkv::strided{1, 2, 0, 5}, 3));
}

TEST(plane, refuses_groups_that_do_not_divide_the_row) {
  EXPECT_EQ(refusal([] {
              tightkv::plane(data, tightkv::strided{1, 1, 0, 4}, 10, tightkv::grouped{.size = 4, .stride = 16});
            }),
            "tightkv::grouped: head_dim must be a multiple of the group size (got size = 4, head_dim = 10)");
  EXPECT_THROW(tightkv::plane(data, tightkv::strided{1, 1, 0, 4}, 10, tightkv::grouped{.size = 0}),
               tightkv::bad_argument);
}

TEST(plane, refuses_page_indices_out_of_range_on_the_host) {
  std::int32_t table[] = {0, 5, 6};
  auto const view = [&](int tokens) { tightkv::paged_nhd(data, {1, tokens, 2}, tightkv::block_table{table, 6, 4}); };
  EXPECT_EQ(refusal([&] { view(9); }),
            "tightkv::paged: a page index is out of range (got head = 0, entry = 2, page = 6, pages = 6)");
  EXPECT_NO_THROW(view(8));  // the third entry is not looked at
  table[1] = -1;
  EXPECT_NE(refusal([&] { view(5); }).find("page = -1"), std::string::npos);
  EXPECT_NO_THROW(view(4));
  std::uint32_t const unsigned_table[] = {0xffffffffU};
  EXPECT_THROW(tightkv::cells(data, {1, 1, 2}, unsigned_table, 6), tightkv::bad_argument);
  std::int64_t const wide_table[] = {std::int64_t{1} << 32};  // 0, if it were cut to 32 bits
  EXPECT_THROW(tightkv::cells(data, {1, 1, 2}, wide_table, 6), tightkv::bad_argument);
}

TEST(plane, checks_the_table_of_each_head) {
  std::int32_t const table[] = {0, 1, 2, 9};
  tightkv::paged where{.heads = 2,
                       .tokens = 2,
                       .block_table = table,
                       .table_stride = 2,
                       .pages = 4,
                       .page_size = 1,
                       .page_stride = 8,
                       .token_stride = 8};
  EXPECT_NE(refusal([&] { tightkv::plane(data, where, 2); }).find("head = 1, entry = 1, page = 9"), std::string::npos);
  where.table_stride = -2;
  EXPECT_NE(refusal([&] { tightkv::plane(data, where, 2); }).find("table_stride"), std::string::npos);
}

TEST(plane, refuses_a_missing_table_and_a_page_size_below_one) {
  std::int32_t const* const no_table = nullptr;
  EXPECT_EQ(refusal([&] {
              tightkv::cells(data, {1, 2, 2}, no_table, 6);
            }),
            "tightkv::paged: block_table must not be null");
  EXPECT_NO_THROW(tightkv::cells(data, {1, 0, 2}, no_table, 6));
  std::int32_t const table[] = {0};
  EXPECT_EQ(refusal([&] {
              tightkv::paged_hnd(data, {1, 1, 2}, tightkv::block_table{table, 1, 0});
            }),
            "tightkv::paged: page_size must be at least 1 (got page_size = 0)");
}

TEST(plane, refuses_pages_by_address_that_are_null_or_not_aligned) {
  void* pages[] = {data, data + 8};
  tightkv::page_pointers const where{.heads = 1, .tokens = 5, .pages = pages, .page_size = 4, .token_stride = 8};
  EXPECT_NO_THROW(tightkv::plane(null, where, 2));
  pages[1] = nullptr;
  EXPECT_EQ(refusal([&] { tightkv::plane(null, where, 2); }),
            "tightkv::page_pointers: a page must not be null (got head = 0, entry = 1)");
  pages[1] = reinterpret_cast<char*>(data) + 2;
  EXPECT_EQ(refusal([&] { tightkv::plane(null, where, 2); }),
            "tightkv::page_pointers: a page is not aligned to its elements (got head = 0, entry = 1)");
  auto none = where;
  none.pages = nullptr;
  EXPECT_EQ(refusal([&] { tightkv::plane(null, none, 2); }), "tightkv::page_pointers: the table must not be null");
  auto crooked = where;
  crooked.offset = 2;
  EXPECT_NE(refusal([&] { tightkv::plane(null, crooked, 2); }).find("offset = 2"), std::string::npos);
}

TEST(plane, does_not_look_into_tables_on_a_device) {
  auto const* const elsewhere = reinterpret_cast<std::int32_t const*>(std::uintptr_t{64});
  auto const p = tightkv::paged_nhd(reinterpret_cast<half*>(std::uintptr_t{4096}), {2, 100, 8},
                                    tightkv::block_table{elsewhere, 50, 16}, tightkv::device_memory{});
  static_assert(!tightkv::reachable_from<decltype(p), tightkv::cpu>);
  EXPECT_EQ(p.heads(), 2);
}

TEST(packed_heads, must_not_descend_nor_begin_below_zero) {
  int starts[] = {0, 3, 2};
  EXPECT_EQ(refusal([&] { tightkv::packed_heads(data, starts, 2, 2); }),
            "tightkv::ragged: starts must not descend (got head = 1, start = 3, end = 2)");
  starts[0] = -1;
  EXPECT_EQ(refusal([&] { tightkv::packed_heads(data, starts, 2, 2); }),
            "tightkv::ragged: starts must not be negative (got starts[0] = -1)");
  EXPECT_EQ(refusal([] { tightkv::packed_heads(data, nullptr, 2, 2); }), "tightkv::ragged: starts must not be null");
  EXPECT_NO_THROW(tightkv::packed_heads(null, nullptr, 0, 2));
}

TEST(packed_heads, may_be_empty) {
  int const starts[] = {0, 0, 2, 2};
  auto const p = tightkv::packed_heads(data, starts, 3, 2);
  EXPECT_EQ(p.tokens(0), 0);
  EXPECT_EQ(p.tokens(1), 2);
  EXPECT_EQ(p.tokens(2), 0);
  EXPECT_EQ(tightkv::longest(p), 2);
}

TEST(with_lengths, must_lie_between_zero_and_the_layouts_own) {
  auto const p = tightkv::hnd(data, {2, 3, 4});
  int lengths[] = {3, 0};
  EXPECT_EQ(p.with_lengths(lengths).tokens(0), 3);
  EXPECT_EQ(p.with_lengths(lengths).tokens(1), 0);
  lengths[1] = 4;
  EXPECT_EQ(refusal([&] { p.with_lengths(lengths); }),
            "tightkv::with_lengths: a length must lie between 0 and the layout's own (got head = 1, length = 4, tokens "
            "= 3)");
  lengths[1] = -1;
  EXPECT_THROW(p.with_lengths(lengths), tightkv::bad_argument);
  EXPECT_EQ(refusal([&] { p.with_lengths(nullptr); }), "tightkv::with_lengths: lengths must not be null");
}

TEST(batch, has_the_heads_of_all_planes_one_after_another) {
  std::vector const planes{tightkv::hnd(data, {2, 3, 4}), tightkv::hnd(data + 32, {2, 1, 4})};
  auto const all = tightkv::batch(planes);
  EXPECT_EQ(all.heads(), 4);
  EXPECT_EQ(all.heads_per_layer(), 2);
  EXPECT_EQ(all.tokens(1), 3);
  EXPECT_EQ(all.tokens(2), 1);
  EXPECT_EQ(&all.head(3)[0][2], data + 32 + 4 + 2);
  auto const by_span = tightkv::batch(std::span(planes));
  EXPECT_EQ(&by_span.head(1)[2][0], data + 12 + 8);
  using type = std::remove_const_t<decltype(all)>;
  static_assert(tightkv::readable_plane<type> && tightkv::writable_plane<type>);
}

TEST(batch, of_heads_of_different_lengths) {
  int const lengths[] = {1, 3};
  std::vector const planes(2, tightkv::hnd(data, {2, 3, 4}).with_lengths(lengths));
  auto const all = tightkv::batch(planes);
  for (int h = 0; h < 4; ++h) {
    EXPECT_EQ(all.tokens(h), lengths[h % 2]);
    EXPECT_EQ(all.head(h).tokens(), lengths[h % 2]);
  }
}

TEST(batch, of_no_planes_has_no_heads) {
  std::vector<decltype(tightkv::hnd(data, {}))> const none;
  EXPECT_EQ(tightkv::batch(none).heads(), 0);
  EXPECT_EQ(tightkv::longest(tightkv::batch(none)), 0);
}

TEST(batch, refuses_planes_of_different_shapes) {
  std::vector const heads{tightkv::hnd(data, {2, 3, 4}), tightkv::hnd(data, {1, 3, 4})};
  EXPECT_EQ(refusal([&] { tightkv::batch{heads}; }),
            "tightkv::batch: all planes must have the same number of heads (got heads = 1, first = 2)");
  std::vector const dims{tightkv::hnd(data, {2, 3, 4}), tightkv::hnd(data, {2, 3, 2})};
  EXPECT_EQ(refusal([&] { tightkv::batch{dims}; }),
            "tightkv::batch: all planes must have the same head_dim (got head_dim = 2, first = 4)");
}

}  // namespace plane_test
