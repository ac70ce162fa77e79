// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <exception>
#include <fstream>
#include <span>
#include <string>

#if __has_include(<sanitizer/common_interface_defs.h>)
#include <sanitizer/common_interface_defs.h>
#endif

#include <gtest/gtest.h>

#include <fuzz/counting_new.hpp>
#include <fuzz/gguf.hpp>
#include <fuzz/llama_state.hpp>
#include <fuzz/mutate.hpp>
#include <fuzz/plans.hpp>
#include <fuzz/safetensors.hpp>
#include <fuzz/views.hpp>

namespace {

constexpr int inputs = 20'000;

// The input in hand, written to a file when it has done harm; where a sanitizer ends the program, by its last call.
struct input_in_hand {
  static inline std::string bytes;
  static inline std::string path;

  static void save() { std::ofstream(path, std::ios::binary) << bytes; }
  static void save_when_killed() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_set_death_callback([] { save(); });
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
    __sanitizer_set_death_callback([] { save(); });
#endif
#endif
  }
};

template <class Target>
class fuzz_test : public ::testing::Test {};

struct target_name {
  template <class Target>
  static std::string GetName(int) {
    return Target::name;
  }
};
using targets = ::testing::Types<fuzz::safetensors, fuzz::gguf, fuzz::llama_state, fuzz::views, fuzz::plans>;
TYPED_TEST_SUITE(fuzz_test, targets, target_name);

}  // namespace

TYPED_TEST(fuzz_test, takes_its_seeds) {
  for (auto const& seed : TypeParam::seeds()) EXPECT_NO_THROW(fuzz::run<TypeParam>(std::as_bytes(std::span(seed))));
}

TYPED_TEST(fuzz_test, works_or_refuses_whatever_it_is_given) {
  auto const round = static_cast<std::uint64_t>(::testing::UnitTest::GetInstance()->random_seed());
  auto const seeds = TypeParam::seeds();
  input_in_hand::path = std::string("fuzz.") + TypeParam::name + ".input";
  input_in_hand::save_when_killed();
  for (std::uint64_t i = 0; i < inputs; ++i) {
    fuzz::generator random(round * inputs + i);
    input_in_hand::bytes = fuzz::mutated(seeds, random);
    try {
      fuzz::run<TypeParam>(std::as_bytes(std::span(input_in_hand::bytes)));
    } catch (std::exception const& e) {
      input_in_hand::save();
      FAIL() << e.what() << "; the input is in " << input_in_hand::path;
    }
  }
}
