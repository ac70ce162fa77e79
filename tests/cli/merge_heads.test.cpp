// SPDX-License-Identifier: Apache-2.0
// `tightkv merge-heads` on models whose KV heads were first multiplied: what comes out must be the model it was.
#include <algorithm>
#include <fstream>
#include <memory>

#include <engine/expanded_file.hpp>
#include <engine/tiny_model.hpp>

#include "command.hpp"
#include "forward.hpp"
#include "mapped_file.hpp"

#ifndef TIGHTKV_TEST_MODEL
#define TIGHTKV_TEST_MODEL ""
#endif
#ifndef TIGHTKV_TEST_TEXT
#define TIGHTKV_TEST_TEXT ""
#endif

namespace tests {

using ::testing::HasSubstr;
using ::testing::Not;

/// A model in a file, ready to run.
class runnable {
 public:
  explicit runnable(std::string const& path) : mapped_(path), file_(mapped_.bytes()), model_(file_, pool_) {}

  tightkv::gguf::file const& file() const { return file_; }
  engine::model const& model() const { return model_; }
  engine::hyper_parameters const& shape() const { return model_.shape(); }

  /// The logits of every token.
  tightkv::matrix<float> logits(std::vector<engine::token> const& tokens) {
    auto const& s = shape();
    engine::kv_cache<float> cache({.layers = s.layers,
                                   .kv_heads = s.kv_heads,
                                   .capacity = static_cast<int>(tokens.size()),
                                   .head_dim = s.head_dim});
    return engine::logits(
        model_, pool_,
        engine::forward<float>(model_, pool_, {.tokens = tokens, .cache = cache, .outputs = engine::all_rows}));
  }

 private:
  engine::thread_pool pool_{2};
  engine::mapped_file mapped_;
  tightkv::gguf::file file_;
  engine::model model_;
};

double largest_difference(tightkv::matrix<float> const& a, tightkv::matrix<float> const& b) {
  double worst = 0;
  for (int r = 0; r < a.rows(); ++r) {
    for (int c = 0; c < a.cols(); ++c) worst = std::max(worst, std::abs(double{a(r, c)} - double{b(r, c)}));
  }
  return worst;
}

std::string letters(int count, std::uint32_t seed) {
  std::string text;
  for (float const x : noise(static_cast<std::size_t>(count), seed)) {
    text += static_cast<char>('A' + static_cast<int>((x + 1) * 12.99F));
  }
  return text;
}

class merge_heads : public cli {
 protected:
  std::string const text = (directory / "text.txt").string();
  std::string const merged = (directory / "merged.gguf").string();

  outcome merging(std::string const& from, int kv_heads, std::vector<std::string> const& more = {}) const {
    std::vector<std::string> arguments{
        "merge-heads", from, merged, "--calibrate", text, "--kv-heads", std::to_string(kv_heads), "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }
  nlohmann::json merged_by(std::string const& from, int kv_heads, std::vector<std::string> const& more = {}) const {
    auto const ran = merging(from, kv_heads, more);
    EXPECT_EQ(ran.status, 0) << ran.err;
    EXPECT_EQ(ran.err, "");
    return nlohmann::json::parse(ran.out);
  }
};

/// A Llama of a few thousand weights that reads letters: 12 query heads on 2 KV heads, or on 6 that do the same.
class merge_tiny_model : public merge_heads {
 protected:
  std::string const plain = (directory / "plain.gguf").string();
  std::string const expanded = (directory / "expanded.gguf").string();
  std::vector<engine::token> tokens;

  merge_tiny_model() {
    test::tiny_model tiny({.query_heads = 12, .kv_heads = 2});
    std::vector<std::string> pieces;
    for (char c = '0'; pieces.size() < static_cast<std::size_t>(tiny.shape.vocabulary); ++c) pieces.emplace_back(1, c);
    tiny.builder.set("tokenizer.ggml.model", "gpt2").set("tokenizer.ggml.pre", "smollm");
    tiny.builder.set("tokenizer.ggml.tokens", pieces).set("tokenizer.ggml.merges", std::vector<std::string>{});
    auto const bytes = tiny.builder.build();
    put(plain, {reinterpret_cast<char const*>(bytes.data()), bytes.size()});
    runnable const original(plain);
    test::write_expanded(expanded, original.file(), original.model(), {.kv_heads = 6});
    put(text, letters(400, 1));
    for (char const c : letters(100, 2)) tokens.push_back(c - '0');
  }
};

TEST_F(merge_tiny_model, expanded_heads_are_the_same_function) {
  EXPECT_EQ(runnable(expanded).shape().kv_heads, 6);
  EXPECT_LT(largest_difference(runnable(plain).logits(tokens), runnable(expanded).logits(tokens)), 1e-4);
}

// Fused and unfused, with and without a refit: nothing is lost, so nothing may change.
TEST_F(merge_tiny_model, merging_expanded_heads_gives_the_model_back) {
  auto const expected = runnable(plain).logits(tokens);
  for (char const* keys : {"alternating", "commuting", "commuting-query", "post-rope", "kq-svd", "layer-wide"}) {
    for (char const* values : {"svd", "output"}) {
      for (char const* refit : {"none", "residual"}) {
        auto const report =
            merged_by(expanded, 2, {"--keys", keys, "--values", values, "--refit", refit, "--type", "f32"});
        SCOPED_TRACE(std::string(keys) + ' ' + values + ' ' + refit);
        EXPECT_LT(largest_difference(expected, runnable(merged).logits(tokens)), 1e-3);
        for (auto const& layer : report["layers"]) {
          EXPECT_GT(layer["keys_kept"], 0.999999);
          EXPECT_GT(layer["values_kept"], 0.999999);
          EXPECT_LT(layer["measured_output_error"], 1e-3);
        }
        EXPECT_EQ(report["kv_bytes_per_token_before"], 3 * 6 * 8 * 2 * 2);
        EXPECT_EQ(report["kv_bytes_per_token_after"], 3 * 2 * 8 * 2 * 2);
        bool const fused = std::string(keys).starts_with("commuting") || std::string(keys) == "alternating";
        EXPECT_EQ(report["other_engines"], fused);
      }
    }
  }
}

// Copies that are no neighbours: those who look for them lose nothing.
TEST_F(merge_tiny_model, similar_heads_are_found) {
  runnable const original(plain);
  test::write_expanded(expanded, original.file(), original.model(), {.kv_heads = 6, .stride = 3});
  auto const expected = runnable(plain).logits(tokens);
  ASSERT_LT(largest_difference(expected, runnable(expanded).logits(tokens)), 1e-4);
  for (char const* keys : {"commuting-query", "kq-svd", "layer-wide"}) {
    merged_by(expanded, 2, {"--keys", keys, "--groups", "similar", "--type", "f32"});
    EXPECT_LT(largest_difference(expected, runnable(merged).logits(tokens)), 1e-3) << keys;
  }
  merged_by(expanded, 2, {"--refit", "none", "--type", "f32"});
  EXPECT_GT(largest_difference(expected, runnable(merged).logits(tokens)), 1e-2);
}

TEST_F(merge_tiny_model, a_group_of_one_changes_nothing) {
  auto const expected = runnable(plain).logits(tokens);
  for (char const* keys : {"alternating", "commuting-query", "kq-svd", "mean"}) {
    merged_by(plain, 2, {"--keys", keys, "--refit", "none", "--type", "f32"});
    EXPECT_LT(largest_difference(expected, runnable(merged).logits(tokens)), 1e-3) << keys;
  }
}

// With real loss: what is given up shows, the refit gains some of it back, and the mean is worst.
TEST_F(merge_tiny_model, what_is_lost_is_measured) {
  auto const error = [&](std::vector<std::string> const& how) {
    double sum = 0;
    auto const report = merged_by(plain, 1, how);
    for (auto const& layer : report["layers"]) sum += layer["refitted_output_error"].get<double>();
    EXPECT_GT(report["kl"], 0.0);
    return sum;
  };
  double const run_time = error({"--keys", "kq-svd", "--refit", "none"});
  double const fused = error({"--keys", "commuting-query"});
  double const unfitted = error({"--keys", "commuting-query", "--refit", "none"});
  double const mean = error({"--keys", "mean", "--values", "mean", "--refit", "none"});
  EXPECT_LT(fused, unfitted);
  EXPECT_LT(run_time, mean);
  EXPECT_LT(unfitted, mean);
}

TEST_F(merge_tiny_model, everything_else_stays_byte_for_byte) {
  merged_by(plain, 1, {"--type", "f16"});
  runnable const before(plain);
  runnable const after(merged);
  EXPECT_EQ(after.shape().kv_heads, 1);
  ASSERT_EQ(after.file().tensors().size(), before.file().tensors().size());
  for (auto const& t : before.file().tensors()) {
    auto const& is = after.file().tensor(t.name);
    if (t.name.find("attn_") == std::string_view::npos || t.name.find("norm") != std::string_view::npos) {
      EXPECT_TRUE(t.type == is.type && t.shape == is.shape && std::ranges::equal(t.data, is.data)) << t.name;
    } else {
      EXPECT_EQ(name_of(is.type), "F16") << t.name;
    }
  }
  ASSERT_EQ(after.file().metadata().size(), before.file().metadata().size());
  for (std::size_t i = 0; i < before.file().metadata().size(); ++i) {
    EXPECT_EQ(after.file().metadata()[i].key, before.file().metadata()[i].key);
  }
}

TEST_F(merge_tiny_model, says_what_it_did) {
  auto const fused = run({"merge-heads", plain, merged, "--calibrate", text, "--kv-heads", "1"});
  EXPECT_EQ(fused.status, 0) << fused.err;
  EXPECT_EQ(fused.err, "");
  EXPECT_THAT(fused.out, HasSubstr("192 -> 96 (2 -> 1 KV heads)"));
  EXPECT_THAT(fused.out, HasSubstr("any engine that reads GGUF runs it"));
  auto const unfused = run({"merge-heads", plain, merged, "--calibrate", text, "--kv-heads", "1", "--keys", "kq-svd"});
  EXPECT_THAT(unfused.out, HasSubstr("will not load this file"));
}

TEST_F(merge_tiny_model, composes_with_eviction) {
  put(directory / "context", letters(200, 3));
  put(directory / "continuation", letters(20, 4));
  merged_by(expanded, 2);
  auto const ran =
      run({"run", "--model", merged, "--context", directory / "context", "--continuation", directory / "continuation",
           "--method", "lag_kv", "--set", "keep=0.5", "--set", "lag=32", "--json"});
  ASSERT_EQ(ran.status, 0) << ran.err;
  auto const results = nlohmann::json::parse(ran.out)["results"];
  EXPECT_EQ(results[0]["kv_bytes_after"], 200 * 3 * 2 * 8 * 2 * 2);
  EXPECT_LT(results[1]["kv_bytes_after"], results[0]["kv_bytes_after"]);
}

TEST_F(merge_tiny_model, refuses_and_leaves_the_old_file) {
  put(merged, "old");
  auto const refused = [&](outcome const& ran, std::string const& says) {
    expect_refused(ran, "tightkv merge-heads", says);
    EXPECT_EQ(text_in(merged), "old");
    EXPECT_THAT(directory.names(), Not(::testing::Contains(HasSubstr(".part"))));
  };
  refused(merging(expanded, 4), "must divide the model's KV heads");
  refused(merging(expanded, 12), "must divide the model's KV heads");
  refused(merging(expanded, 0), "kv-heads");
  refused(merging(plain, 1, {"--keys", "svd"}), "keys without RoPE");
  refused(merging(plain, 1, {"--keys", "best"}), "--keys");
  refused(merging(plain, 1, {"--refit", "all"}), "--refit");
  refused(merging((directory / "nowhere").string(), 1), "nowhere");
  refused(merging(text, 1), "GGUF");
  refused(run({"merge-heads", plain, plain, "--calibrate", text, "--kv-heads", "1"}), "must not be the input file");
  refused(run({"merge-heads", plain, (directory / "no" / "out").string(), "--calibrate", text, "--kv-heads", "1"}),
          "must exist and be writable");
  put(text, "AB");
  refused(merging(plain, 1), "too short");
  refused(run({"merge-heads", plain, merged, "--calibrate", (directory / "none").string(), "--kv-heads", "1"}),
          "no such file");
}

TEST_F(merge_tiny_model, refuses_what_it_cannot_read_or_was_merged_already) {
  merged_by(plain, 1, {"--keys", "kq-svd"});
  std::filesystem::rename(merged, in);
  expect_refused(merging(in, 1), "tightkv merge-heads", "merged already");
  auto const quantised = [&] {
    runnable const original(plain);
    std::vector<std::byte> const blocks(256 * 84);  // Q2_K: whatever is in them
    auto t = original.file().tensor("blk.1.attn_k.weight");
    t.type = tightkv::gguf::tensor_type::q2_k;
    t.shape = {256, 256, 1, 1};
    t.data = blocks;
    tightkv::gguf::write(in, original.file(), {.metadata = {}, .tensors = {t}});
  };
  quantised();
  expect_refused(merging(in, 1), "tightkv merge-heads", "attn_k");
  EXPECT_FALSE(std::filesystem::exists(merged));
}

TEST_F(merge_tiny_model, refuses_activations_that_are_not_finite) {
  for (char const* part : {"attn_k", "attn_q", "attn_v"}) {
    runnable const original(plain);
    auto t = original.file().tensor("blk.2." + std::string(part) + ".weight");
    std::vector<std::byte> bytes(t.data.begin(), t.data.end());
    ASSERT_EQ(name_of(t.type), "F32");
    std::fill_n(bytes.begin() + 4, 4, std::byte{0xff});  // a NaN
    t.data = bytes;
    tightkv::gguf::write(in, original.file(), {.metadata = {}, .tensors = {t}});
    expect_refused(merging(in, 1), "tightkv merge-heads", "activations must be finite");
    EXPECT_FALSE(std::filesystem::exists(merged));
  }
}

#ifdef __linux__
TEST_F(merge_tiny_model, a_full_disk_is_said_and_leaves_nothing) {
  auto const limited = "ulimit -f 8; trap '' XFSZ; exec '" + std::string(TIGHTKV_TEST_CLI) + "' merge-heads '" + plain +
                       "' '" + merged + "' --calibrate '" + text + "' --kv-heads 1 2>'" + in + "'";
  EXPECT_EQ(WEXITSTATUS(std::system(limited.c_str())), 2);
  EXPECT_THAT(text_in(in), HasSubstr("cannot be written whole"));
  EXPECT_FALSE(std::filesystem::exists(merged));
}
#endif

/// SmolLM2-135M with 9 KV heads of which 3 would do, merged back.
TEST_F(merge_heads, gives_a_real_model_back) {
  std::string const model = TIGHTKV_TEST_MODEL;
  std::ifstream policy(TIGHTKV_TEST_TEXT);
  if (model.empty() || !policy)
    GTEST_SKIP() << "no model or text: configure with -D TIGHTKV_TEST_MODEL=, TIGHTKV_TEST_TEXT=";
  auto const expanded = (directory / "expanded.gguf").string();
  std::string prose(4500, ' ');  // varied enough to show every direction of a head
  policy.read(prose.data(), static_cast<std::streamsize>(prose.size()));
  put(text, prose);
  tightkv::matrix<float> expected;
  std::vector<engine::token> tokens;
  {
    runnable original(model);
    tokens = engine::tokenizer(original.file()).encode("Every package must have a maintainer, who may be a group.");
    expected = original.logits(tokens);
    test::write_expanded(expanded, original.file(), original.model(), {.kv_heads = 9});
  }
  merged_by(expanded, 3, {"--keys", "commuting-query", "--refit", "none", "--type", "f32", "--threads", "2"});
  EXPECT_LT(largest_difference(expected, runnable(merged).logits(tokens)), 1e-3);
}

}  // namespace tests
