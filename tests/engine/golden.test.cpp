// SPDX-License-Identifier: Apache-2.0
// SmolLM2-135M against transformers in float32; tests/golden/engine/make.py made what is compared with.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>
#include <string>

#include "forward.hpp"
#include "mapped_file.hpp"
#include "tokenizer.hpp"

#ifndef TIGHTKV_TEST_MODEL
#define TIGHTKV_TEST_MODEL ""
#endif

namespace golden_test {

using engine::token;

template <class T>
std::vector<T> golden(char const* name) {
  auto const path = std::filesystem::path(__FILE__).parent_path().parent_path() / "golden" / "engine" / name;
  std::ifstream in(path, std::ios::binary);
  std::string const bytes{std::istreambuf_iterator<char>(in), {}};
  std::vector<T> result(bytes.size() / sizeof(T));
  std::memcpy(result.data(), bytes.data(), result.size() * sizeof(T));
  return result;
}

std::istringstream golden_text(char const* name) {
  auto const chars = golden<char>(name);
  return std::istringstream{std::string(chars.begin(), chars.end())};
}

class golden_model : public testing::Test {
 protected:
  void SetUp() override {
    std::string const path = TIGHTKV_TEST_MODEL;
    if (path.empty()) GTEST_SKIP() << "no model: configure with -D TIGHTKV_TEST_MODEL=SmolLM2-135M-Instruct.Q4_1.gguf";
    mapped_ = std::make_unique<engine::mapped_file>(path);
    file_ = std::make_unique<tightkv::gguf::file>(mapped_->bytes());
    if (file_->get_or<std::string_view>("general.basename", "") != "smollm2" ||
        file_->get_or("llama.block_count", 0) != 30) {
      GTEST_SKIP() << "the golden files are of SmolLM2-135M-Instruct.Q4_1.gguf, not of " << path;
    }
  }
  tightkv::gguf::file const& file() const { return *file_; }

 private:
  std::unique_ptr<engine::mapped_file> mapped_;
  std::unique_ptr<tightkv::gguf::file> file_;
};

std::uint64_t fnv1a(std::string_view text) {
  std::uint64_t value = 0xcbf29ce484222325U;
  for (unsigned char const c : text) value = (value ^ c) * 0x100000001b3U;
  return value;
}

TEST_F(golden_model, tokens_of_the_text_are_the_same) {
  engine::tokenizer const tokenizer{file()};
  auto const ids = golden<token>("text.ids");
  ASSERT_GE(ids.size(), 2000U);
  auto const text = tokenizer.decode(ids);
  std::size_t bytes = 0;
  std::uint64_t hash = 0;
  golden_text("text.check") >> bytes >> hash;
  ASSERT_EQ(text.size(), bytes);
  ASSERT_EQ(fnv1a(text), hash);
  EXPECT_EQ(tokenizer.encode(text), ids);
}

TEST_F(golden_model, tokens_of_odd_strings_are_the_same) {
  engine::tokenizer const tokenizer{file()};
  auto lines = golden_text("strings.txt");
  int strings = 0;
  for (std::string line; std::getline(lines, line); ++strings) {
    std::istringstream in{line};
    std::string hex;
    std::string colon;
    in >> hex >> colon;
    std::string text;
    for (std::size_t i = 0; hex != "-" && i + 1 < hex.size(); i += 2) {
      text += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    }
    std::vector<token> const expected{std::istream_iterator<token>(in), {}};
    EXPECT_EQ(tokenizer.encode(text), expected) << text;
  }
  EXPECT_GE(strings, 30);
}

TEST_F(golden_model, logits_agree_to_a_thousandth) {
  engine::thread_pool pool{2};
  engine::model const model{file(), pool};
  auto const& s = model.shape();
  auto const ids = golden<token>("text.ids");
  engine::kv_cache<float> cache{{.layers = s.layers, .kv_heads = s.kv_heads, .capacity = 2000, .head_dim = s.head_dim}};
  auto const hidden = engine::forward<float>(
      model, pool, {.tokens = std::span(ids).first(2000), .cache = cache, .outputs = engine::all_rows});

  auto const expected = golden<float>("logits.f32");
  auto at = expected.begin();
  auto lines = golden_text("logits.txt");
  int position = 0;
  token first_choice = 0;
  double log_sum_exp = 0;
  int positions = 0;
  double worst = 0;
  for (; lines >> position >> first_choice >> log_sum_exp; ++positions) {
    auto const row = engine::logits(model, pool, hidden, {.first = position, .count = 1});
    EXPECT_EQ(engine::greedy(row.row(0)), first_choice) << position;
    double const highest = std::ranges::max(row.row(0));
    double sum = 0;
    for (float const v : row.row(0)) sum += std::exp(v - highest);
    EXPECT_NEAR(highest + std::log(sum), log_sum_exp, 1e-3) << position;
    for (int i = 0; i < s.vocabulary; i += 64) worst = std::max(worst, std::abs(double{row(0, i)} - double{*at++}));
  }
  EXPECT_EQ(positions, 16);
  EXPECT_EQ(at, expected.end());
  EXPECT_LT(worst, 1e-3);
  RecordProperty("largest_difference", std::to_string(worst));
}

}  // namespace golden_test
