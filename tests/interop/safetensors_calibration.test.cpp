// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <support/rows.hpp>
#include <support/temporary_directory.hpp>
#include <tightkv/interop/safetensors_calibration.hpp>
#include <tightkv/view/layouts.hpp>

namespace safetensors_calibration_test {

using namespace tests;
using ::testing::HasSubstr;

constexpr tightkv::attention_shape shape{
    .query_heads = 4, .kv_heads = 2, .key_dim = 4, .value_dim = 3, .rotary = {2, tightkv::rotary_pairs::interleaved}};

tightkv::calibration statistics(std::string const& model = "a model", unsigned seed = 1) {
  tightkv::calibration sums(model, shape, 3);
  for (auto& layer : sums.layers) {
    auto const draw = [&](int heads, int dim) {
      auto const drawn = random_numbers(static_cast<std::size_t>(heads * 5 * dim), ++seed);
      return std::vector<float>(drawn.begin(), drawn.end());
    };
    auto const k = draw(2, 4);
    auto const v = draw(2, 3);
    auto const q = draw(4, 4);
    layer.add(tightkv::cpu{}, tightkv::hnd(k.data(), {2, 5, 4}), tightkv::hnd(v.data(), {2, 5, 3}),
              tightkv::hnd(q.data(), {4, 5, 4}), 1);
  }
  return sums;
}

void expect_same(tightkv::gram const& got, tightkv::gram const& want) {
  ASSERT_EQ(got.size(), want.size());
  EXPECT_EQ(got.rows(), want.rows());
  for (int a = 0; a < got.size(); ++a) {
    EXPECT_EQ(got.sums()[static_cast<std::size_t>(a)], want.sums()[static_cast<std::size_t>(a)]);
    for (int b = 0; b < got.size(); ++b) EXPECT_EQ(got.products()(a, b), want.products()(a, b));
  }
}

std::string refusal(auto const& what) {
  try {
    what();
  } catch (tightkv::bad_argument const& refused) {
    return refused.what();
  }
  return "nothing was refused";
}

TEST(safetensors_calibration, comes_back_to_the_bit) {
  temporary_directory const directory;
  auto const saved = statistics();
  EXPECT_EQ(saved.layers[0].keys.rows().added, 4);
  EXPECT_EQ(saved.layers[0].queries[1].rows().added, 8);  // of two query heads
  tightkv::save(directory / "sums.safetensors", saved);
  auto const loaded = tightkv::load_calibration(directory / "sums.safetensors");
  EXPECT_EQ(loaded.model, "a model");
  EXPECT_EQ(loaded.shape, shape);
  ASSERT_EQ(loaded.layers.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    expect_same(loaded.layers[i].keys, saved.layers[i].keys);
    expect_same(loaded.layers[i].values, saved.layers[i].values);
    for (std::size_t h = 0; h < 2; ++h) expect_same(loaded.layers[i].queries[h], saved.layers[i].queries[h]);
  }
}

TEST(safetensors_calibration, of_shards_adds_up) {
  auto sums = statistics("a model", 1);
  auto const other = statistics("a model", 50);
  double const want = sums.layers[2].values.products()(1, 4) + other.layers[2].values.products()(1, 4);
  sums += other;
  EXPECT_EQ(sums.layers[2].values.products()(1, 4), want);
  EXPECT_EQ(sums.layers[2].values.rows().added, 8);
}

TEST(safetensors_calibration, of_another_model_is_refused) {
  auto sums = statistics();
  EXPECT_THAT(refusal([&] { sums += statistics("another"); }), HasSubstr("another model"));
  EXPECT_THAT(refusal([&] { sums.expect_about("a model", shape, 4); }), HasSubstr("layers"));
  auto other = shape;
  other.key_dim = 8;
  EXPECT_THAT(refusal([&] { sums.expect_about("a model", other, 3); }), HasSubstr("heads"));
  EXPECT_THAT(refusal([&] { sums += tightkv::calibration("a model", other, 3); }), HasSubstr("heads"));
  sums.expect_about("a model", shape, 3);
}

TEST(safetensors_calibration, refuses_chunks_of_other_heads) {
  auto sums = statistics();
  std::vector<float> const x(100);
  auto const rows = [&](int heads, int dim) { return tightkv::hnd(x.data(), {heads, 2, dim}); };
  EXPECT_THROW(sums.layers[0].add(tightkv::cpu{}, rows(1, 4), rows(2, 3), rows(4, 4)), tightkv::bad_argument);
  EXPECT_THROW(sums.layers[0].add(tightkv::cpu{}, rows(2, 4), rows(2, 4), rows(4, 4)), tightkv::bad_argument);
  EXPECT_THROW(sums.layers[0].add(tightkv::cpu{}, rows(2, 4), rows(2, 3), rows(3, 4)), tightkv::bad_argument);
  EXPECT_THROW(sums.layers[0].add(tightkv::cpu{}, rows(2, 4), rows(2, 3), rows(0, 4)), tightkv::bad_argument);
  EXPECT_THROW(sums.layers[0].add(tightkv::cpu{}, rows(2, 4), rows(2, 3), rows(4, 3)), tightkv::bad_argument);
  auto const longer = tightkv::hnd(x.data(), {4, 3, 4});
  EXPECT_THROW(sums.layers[0].add(tightkv::cpu{}, rows(2, 4), rows(2, 3), longer), tightkv::bad_argument);
  EXPECT_THROW(tightkv::layer_sums().add(tightkv::cpu{}, rows(2, 4), rows(2, 3), rows(4, 4)), tightkv::bad_argument);
  EXPECT_EQ(sums.layers[0].keys.rows().added, 4);  // nothing of what was refused
}

TEST(safetensors_calibration, refuses_files_that_hold_something_else) {
  temporary_directory const directory;
  auto const path = directory / "sums.safetensors";
  tightkv::save(path, statistics());
  auto const bytes = tightkv::read_file(path);
  auto const original = tightkv::safetensors::parse(bytes.bytes());
  auto const refused = [&](auto const& change) {
    auto contents = original;
    change(contents);
    tightkv::safetensors::write(path, contents);
    return refusal([&] { tightkv::load_calibration(path); });
  };
  using contents = tightkv::safetensors::contents;
  EXPECT_EQ(refused([](contents&) {}), "nothing was refused");
  EXPECT_THAT(refused([](contents& c) { c.metadata.erase("format"); }), HasSubstr("does not hold calibration"));
  EXPECT_THAT(refused([](contents& c) { c.metadata.erase("model"); }), HasSubstr("does not hold calibration"));
  EXPECT_THAT(refused([](contents& c) { std::erase_if(c.tensors, [](auto& t) { return t.name == "shape"; }); }),
              HasSubstr("no such tensor"));
  EXPECT_THAT(
      refused([](contents& c) { std::erase_if(c.tensors, [](auto& t) { return t.name == "layers.1.keys.sums"; }); }),
      HasSubstr("no such tensor"));

  // Numbers of the shape, one by one: layers, query heads, KV heads, channels, rotary channels.
  std::vector<std::int64_t> extents(8);
  auto const with = [&](std::size_t place, std::int64_t number) {
    return refused([&](contents& c) {
      for (auto& t : c.tensors) {
        if (t.name != "shape") continue;
        std::memcpy(extents.data(), t.bytes.data(), t.bytes.size());
        extents[place] = number;
        t.bytes = std::as_bytes(std::span(extents));
      }
    });
  };
  for (std::size_t place = 0; place < 6; ++place) {
    for (std::int64_t const number : {std::int64_t{-1}, (std::int64_t{1} << 20) + 1, INT64_MAX, INT64_MIN}) {
      EXPECT_NE(with(place, number), "nothing was refused") << place << ' ' << number;
    }
  }
  EXPECT_THAT(with(0, 0), HasSubstr("layer"));
  EXPECT_THAT(with(0, 1 << 20), HasSubstr("no such tensor"));
  EXPECT_THAT(with(1, 5), HasSubstr("multiple of KV heads"));
  EXPECT_THAT(with(2, 4), HasSubstr("shape of the model"));
  EXPECT_THAT(with(3, 5), HasSubstr("shape of the model"));
  EXPECT_THAT(with(5, 6), HasSubstr("rotary"));

  std::vector<double> products(64, NAN);
  EXPECT_THAT(refused([&](contents& c) {
                for (auto& t : c.tensors) {
                  if (t.name == "layers.2.keys.products") t.bytes = std::as_bytes(std::span(products));
                }
              }),
              HasSubstr("finite"));
}

}  // namespace safetensors_calibration_test
