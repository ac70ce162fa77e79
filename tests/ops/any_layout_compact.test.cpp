// SPDX-License-Identifier: Apache-2.0
/// Rows are moved and copied in every layout, and no other byte is touched.
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include <support/any_layout.hpp>
#include <support/random_plan.hpp>
#include <tightkv/ops/compact.hpp>
#include <tightkv/ops/gather.hpp>

namespace any_layout_compact_test {

using namespace tests;

/// The first rows of each head are the kept ones, the others what they were.
rows carried_out(tightkv::plan const& p, rows const& before) {
  rows after = before;
  for (int h = 0; h < p.heads(); ++h) {
    int j = 0;
    for (int const t : p.kept(h))
      std::memcpy(after.at(h, j++, 0), before.at(h, t, 0),
                  static_cast<std::size_t>(before.head_dim) * before.element_bytes);
  }
  return after;
}

void expect_memory(stored& got, rows const& want, char const* layout) {
  EXPECT_TRUE(got.memory() == laid_out(got.where(), want)) << layout;
}

template <class T>
struct any_layout_compact : ::testing::Test {};
using movable = ::testing::Types<float, tightkv::half, tightkv::bfloat16, std::byte>;
TYPED_TEST_SUITE(any_layout_compact, movable, element_names);

TYPED_TEST(any_layout_compact, is_compacted_in_place_and_gathered_from) {
  using T = TypeParam;
  for (int const head_dim : head_dims) {
    SCOPED_TRACE(head_dim);
    std::vector<rows> before;
    std::vector<tightkv::plan> plans;
    for (bool const varied : {false, true}) {
      before.push_back(random_rows<T>(usual_extents(varied, head_dim), 1));
      plans.push_back(random_plan(before.back(), 15));
    }
    for_each_layout([&](auto tag) {
      using layout = typename decltype(tag)::type;
      auto const& r = before[layout::varied ? 1 : 0];
      auto const& p = plans[layout::varied ? 1 : 0];
      auto const after = carried_out(p, r);

      rows kept({{p.lengths().begin(), p.lengths().end()}, head_dim}, sizeof(T));
      cache<packed_layout> elsewhere(kept);
      cache<layout> c(r);
      tightkv::gather(tightkv::plain_cpu{}, p, c.template plane<T>(), elsewhere.template plane<T>());
      for (int h = 0; h < kept.heads(); ++h) {
        for (int t = 0; t < kept.length(h); ++t)
          std::memcpy(kept.at(h, t, 0), after.at(h, t, 0), static_cast<std::size_t>(head_dim) * sizeof(T));
      }
      expect_memory(elsewhere, kept, layout::name);
      expect_memory(c, r, layout::name);

      auto const lengths = tightkv::compact(tightkv::plain_cpu{}, p, c.template plane<T>());
      EXPECT_TRUE(std::equal(lengths.begin(), lengths.end(), p.lengths().begin(), p.lengths().end()));
      expect_memory(c, after, layout::name);
    });
  }
}

}  // namespace any_layout_compact_test
