// SPDX-License-Identifier: Apache-2.0
// States that llama.cpp itself wrote; tests/golden/llama_state/README.md says what is in each.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <tightkv/interop/file.hpp>
#include <tightkv/interop/llama_state.hpp>

namespace llama_state_golden_test {

using namespace tightkv;
using llama_state::rotation;
using ::testing::HasSubstr;
using ::testing::SizeIs;

/// A file and what is in it.
struct golden {
  file_bytes bytes;
  llama_state::contents state;

  explicit golden(std::string const& name)
      : bytes(read_file(std::filesystem::path(__FILE__).parent_path().parent_path() / "golden" / "llama_state" / name)),
        state(llama_state::parse(bytes.bytes())) {}

  llama_state::stream const& stream() const {
    return *std::ranges::find_if(state.base.streams, [](auto const& s) { return s.tokens() > 0; });
  }
};

constexpr int kv_heads = 2, tokens = 12;

/// How far two planes are apart: the root mean square of the differences over that of the second.
double distance(llama_state::decoded_rows const& a, llama_state::decoded_rows const& b) {
  double difference = 0, size = 0;
  EXPECT_EQ(a.heads(), b.heads());
  EXPECT_EQ(a.head_dim(), b.head_dim());
  for (int h = 0; h < a.heads(); ++h) {
    EXPECT_EQ(a.tokens(h), b.tokens(h));
    for (int t = 0; t < a.tokens(h); ++t) {
      for (int d = 0; d < a.head_dim(); ++d) {
        auto const x = static_cast<double>(a.head(h)[t][d]), y = static_cast<double>(b.head(h)[t][d]);
        difference += (x - y) * (x - y);
        size += y * y;
      }
    }
  }
  return std::sqrt(difference / size);
}

/// In the first layer alone: later ones saw what the cache's type had made of it.
double first_layer_apart(golden const& a, golden const& b, llama_state::tensor llama_state::layer::*which,
                         rotation r = rotation::stock) {
  auto const rows = [&](golden const& g) {
    return llama_state::decoded_rows(g.stream(), std::span(g.stream().layers).first(1), which, kv_heads, r);
  };
  return distance(rows(a), rows(b));
}

constexpr auto keys = &llama_state::layer::keys, values = &llama_state::layer::values;

TEST(llama_state_golden, all_types_and_layouts_are_the_same_cache) {
  golden const reference("llama.f32.flash.state");
  EXPECT_THAT(reference.stream().layers, SizeIs(2));
  EXPECT_EQ(reference.stream().tokens(), tokens);
  EXPECT_EQ(keys_of(reference.stream(), kv_heads).head_dim(), 64);
  struct other {
    char const* name;
    double of_keys, of_values;  // the rounding of the type
  };
  for (auto const& [name, of_keys, of_values] :
       {other{"llama.f32.transposed.state", 1e-6, 1e-6}, other{"llama.f16.flash.state", 3e-4, 3e-4},
        other{"llama.f16.transposed.state", 3e-4, 3e-4}, other{"llama.f16.file", 3e-4, 3e-4},
        other{"llama.f16.two_streams.state", 3e-4, 3e-4}, other{"llama.f16.unified.state", 3e-4, 3e-4},
        other{"llama.bf16.flash.state", 3e-3, 3e-3}, other{"llama.bf16.transposed.state", 3e-3, 3e-3},
        other{"llama.q8_0.rotated.state", 0.006, 0.006}, other{"llama.q8_0.f16.state", 0.006, 3e-4},
        other{"llama.q8_0.transposed.state", 0.006, 3e-4}, other{"llama.q4_0.rotated.state", 0.1, 0.1}}) {
    golden const state(name);
    EXPECT_LT(first_layer_apart(state, reference, keys), of_keys) << name;
    EXPECT_LT(first_layer_apart(state, reference, values), of_values) << name;
    EXPECT_TRUE(state.stream().is_whole()) << name;
  }
}

TEST(llama_state_golden, the_basis_matters_and_a_file_does_not_say_it) {
  golden const reference("llama.f32.flash.state"), rotated("llama.q8_0.rotated.state"),
      plain("llama.q8_0.unrotated.state");
  for (auto const which : {keys, values}) {
    EXPECT_LT(first_layer_apart(plain, reference, which, rotation::none), 0.006);
    EXPECT_GT(first_layer_apart(rotated, reference, which, rotation::none), 0.5);
    EXPECT_GT(first_layer_apart(plain, reference, which, rotation::stock), 0.5);
  }
}

TEST(llama_state_golden, both_forms_hold_the_same) {
  golden const file("llama.f16.file"), buffer("llama.f16.flash.state");
  EXPECT_EQ(file.state.form, llama_state::form::file);
  EXPECT_EQ(file.state.version, 3U);
  EXPECT_EQ(file.state.listed_tokens, 12U);
  EXPECT_EQ(buffer.state.form, llama_state::form::buffer);
  EXPECT_TRUE(std::ranges::equal(file.state.base.bytes, buffer.state.base.bytes));
}

/// What llama.cpp leaves after removing tokens 2, 3, 4 and 8 is what a plan for all heads leaves.
TEST(llama_state_golden, a_common_plan_leaves_what_the_engine_leaves) {
  for (std::string const type : {"f32", "f16"}) {
    golden const whole("llama." + type + ".flash.state"), removed("llama." + type + ".removed.state");
    EXPECT_FALSE(removed.stream().is_whole());
    std::vector<int> const before(4, tokens), after(4, 8);
    std::vector<plan> plans{plan(before, after)};
    for (int h = 0; h < 4; ++h) std::ranges::copy(std::vector{0, 1, 5, 6, 7, 9, 10, 11}, plans[0].kept(h).begin());
    llama_state::smaller const smaller(whole.state, plans);
    std::vector<std::byte> bytes(smaller.size());
    smaller.write(cpu{}, bytes);
    auto const ours = llama_state::parse(bytes);
    auto const& theirs = removed.stream();
    EXPECT_EQ(bytes.size(), removed.bytes.bytes().size());
    EXPECT_EQ(ours.base.streams[0].first, 4);
    EXPECT_EQ(ours.base.streams[0].last, 11);
    for (std::size_t l = 0; l < 2; ++l) {
      auto const& layer = ours.base.streams[0].layers[l];
      EXPECT_TRUE(std::ranges::equal(layer.keys.bytes, theirs.layers[l].keys.bytes));
      EXPECT_TRUE(std::ranges::equal(layer.values.bytes, theirs.layers[l].values.bytes));
    }
  }
}

TEST(llama_state_golden, keeping_everything_gives_the_same_bytes) {
  for (char const* name :
       {"llama.f16.file", "llama.f16.two_streams.state", "llama.q8_0.transposed.state", "gemma3.q8_0.window.state"}) {
    golden const g(name);
    auto const& s = g.stream();
    int const heads = keys_of(s, 1).heads();
    std::vector const lengths(static_cast<std::size_t>(heads), s.tokens());
    std::vector const plans{plan::keep_all(lengths)};
    llama_state::smaller const smaller(g.state, plans);
    std::vector<std::byte> bytes(smaller.size());
    smaller.write(cpu{}, bytes);
    EXPECT_TRUE(std::ranges::equal(bytes, g.bytes.bytes())) << name;
  }
}

TEST(llama_state_golden, a_window_is_a_section_of_fewer_tokens) {
  for (char const* name : {"gemma3.f16.window.state", "gemma3.q8_0.window.state"}) {
    golden const g(name);
    EXPECT_EQ(g.stream().tokens(), tokens);
    EXPECT_TRUE(g.stream().is_whole());
    ASSERT_THAT(g.state.window.streams, SizeIs(1));
    EXPECT_LT(g.state.window.streams[0].tokens(), tokens);
    EXPECT_EQ(g.state.window.streams[0].last, tokens - 1);
    EXPECT_EQ(g.stream().layers.size() + g.state.window.streams[0].layers.size(), 4U);
  }
}

TEST(llama_state_golden, streams_without_tokens) {
  golden const empty("llama.f16.empty.state"), second("llama.f16.two_streams.state");
  ASSERT_THAT(empty.state.base.streams, SizeIs(1));
  EXPECT_EQ(empty.state.base.streams[0].tokens(), 0);
  ASSERT_THAT(second.state.base.streams, SizeIs(2));
  EXPECT_EQ(second.state.base.streams[0].tokens(), 0);
  EXPECT_EQ(second.state.base.streams[1].tokens(), tokens);
}

TEST(llama_state_golden, other_memories_are_refused_by_name) {
  auto const refusal_of = [](char const* name) -> std::string {
    try {
      golden{name};
    } catch (bad_argument const& e) {
      return e.what();
    }
    return "accepted";
  };
  EXPECT_THAT(refusal_of("qwen2vl.f16.m_rope.state"), HasSubstr("M-RoPE"));
  EXPECT_THAT(refusal_of("deepseek2.f16.mla.state"), HasSubstr("MLA"));
  EXPECT_THAT(refusal_of("mamba.recurrent.state"), HasSubstr("recurrent"));
}

}  // namespace llama_state_golden_test
