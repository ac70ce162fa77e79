// SPDX-License-Identifier: Apache-2.0
/// Rows are moved and copied on the device as on the CPU, in every layout, and no other byte is touched.
#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "device.hpp"

#include <support/random_plan.hpp>
#include <tightkv/cuda/compact.cuh>
#include <tightkv/cuda/gather.cuh>

namespace rows_test {

using namespace tests;

template <class Layout, class T>
void expect_same_moves(extents const& e) {
  auto const before = random_rows<T>(e, 1);
  auto const plan = random_plan(e, 15);
  rows const empty({{plan.lengths().begin(), plan.lengths().end()}, e.head_dim}, sizeof(T));
  cache<packed_layout> elsewhere(empty);
  cache<Layout> here(before);
  tightkv::gather(plain{}, plan, here.template plane<T>(), elsewhere.template plane<T>());
  tightkv::compact(plain{}, plan, here.template plane<T>());

  for_each_seed([&](unsigned seed) {
    tightkv::cuda const ex{};
    auto const on_device = to_device(ex, plan);
    device_cache<packed_layout> device_elsewhere(empty);
    device_cache<Layout> device_here(before);
    tightkv::gather(ex, on_device, device_here.template plane<T>(), device_elsewhere.template plane<T>());
    EXPECT_TRUE(device_elsewhere.memory() == elsewhere.memory()) << "gather";
    EXPECT_TRUE(device_here.memory() == laid_out(device_here.where(), before)) << "gather moved its source";
    tightkv::compact(ex, on_device, device_here.template plane<T>());
    EXPECT_TRUE(device_here.memory() == here.memory()) << "compact";
    for (auto const* const op : {"compact", "gather"}) {
      comparisons::all().add(op, Layout::name, element_names::GetName<T>(0), e.head_dim, seed);
    }
  });
}

TEST(cuda_rows, move_as_on_the_cpu) {
  for_each_layout_and_type<2>([]<class Tag, class T>(Tag, T) {
    using layout = typename Tag::type;
    for (int const head_dim : {64, 80, 256}) {
      SCOPED_TRACE(testing::Message() << layout::name << ", head_dim " << head_dim);
      expect_same_moves<layout, T>(usual_extents(layout::varied, head_dim));
    }
  });
}

TEST(cuda_rows, of_any_number_of_bytes_move_as_on_the_cpu) {
  for (int const bytes : {1, 4, 17, 66}) {
    SCOPED_TRACE(bytes);
    expect_same_moves<hnd_layout, std::byte>(usual_extents(false, bytes));
  }
}

TEST(cuda_rows, of_a_long_head_move_as_on_the_cpu) {
  expect_same_moves<nhd_layout, tightkv::half>({{2500, 2500, 2500}, 8});
}

}  // namespace rows_test
