// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"

#ifndef TIGHTKV_TEST_MODEL
#define TIGHTKV_TEST_MODEL ""
#endif

namespace tests {

using ::testing::HasSubstr;

/// `tightkv run` on the real model and a short text.
class run_command : public cli {
 protected:
  void SetUp() override {
    if (std::string(TIGHTKV_TEST_MODEL).empty())
      GTEST_SKIP() << "no model: configure with -D TIGHTKV_TEST_MODEL=FILE.gguf";
    std::string text;
    for (int i = 0; i < 6; ++i)
      text += "The packages of the archive are sorted into areas, and each area into sections. ";
    put(context, text);
    put(continuation, "Each package has a section and a priority.");
  }

  nlohmann::json ran_with(std::vector<std::string> const& arguments) const {
    std::vector<std::string> all{"run", "--model", TIGHTKV_TEST_MODEL, "--threads", "2", "--json"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    auto const ran = run(all);
    EXPECT_EQ(ran.status, 0) << ran.err;
    EXPECT_EQ(ran.err, "");
    return nlohmann::json::parse(ran.out);
  }

  std::string const context = (directory / "context.txt").string();
  std::string const continuation = (directory / "continuation.txt").string();
};

TEST_F(run_command, holds_every_method_against_the_full_cache) {
  auto const answer = ran_with({"--context", context,    "--continuation", continuation, "--indices",  //
                                "--method",  "key_diff", "--set",          "keep=1",                   //
                                "--method",  "h2o",      "--set",          "tokens=40",                //
                                "--method",  "snap_kv",  "--set",          "window=8",   "--set",
                                "keep=0.5",  "--set",    "skip_layers=0,1"});
  int const tokens = answer["tokens"];
  auto const& results = answer["results"];
  ASSERT_EQ(results.size(), 4);
  EXPECT_EQ(results[0]["method"], "full");
  EXPECT_EQ(results[0]["kept"], tokens);
  EXPECT_EQ(results[0]["kl"], 0.0);
  EXPECT_EQ(results[0]["kv_bytes_after"], tokens * 30 * 3 * 64 * 2 * 2);

  EXPECT_EQ(results[1]["kept"], tokens) << "keeping everything";
  EXPECT_EQ(results[1]["nll"], results[0]["nll"]);
  EXPECT_EQ(results[1]["kl"], 0.0);

  EXPECT_EQ(results[2]["method"], "h2o");
  EXPECT_EQ(results[2]["kept"], 40);
  EXPECT_EQ(results[2]["kv_bytes_after"], 40 * 30 * 3 * 64 * 2 * 2);
  EXPECT_GT(results[2]["kl"], 0.0);
  auto const head = results[2]["indices"][29][2].get<std::vector<int>>();
  EXPECT_EQ(head.size(), 40U);
  EXPECT_TRUE(std::is_sorted(head.begin(), head.end()));
  EXPECT_EQ(head.back(), tokens - 1) << "the newest are protected";

  auto const per_layer = results[3]["kept"].get<std::vector<int>>();
  ASSERT_EQ(per_layer.size(), 30U);
  EXPECT_EQ(per_layer[1], tokens) << "a layer left whole";
  EXPECT_EQ(per_layer[2], tokens / 2);
}

TEST_F(run_command, goes_on_writing_from_a_compressed_cache) {
  auto const answer =
      ran_with({"--context", context, "--generate", "4", "--method", "streaming_llm", "--kv-type", "f32"});
  for (auto const& r : answer["results"]) {
    EXPECT_FALSE(r["text"].get<std::string>().empty());
    EXPECT_TRUE(r["nll"].is_null());
  }
}

TEST_F(run_command, holds_the_cache_small_while_a_text_streams_through_it) {
  auto const answer = ran_with({"--stream", context, "--chunk", "8", "--method", "tova", "--set", "tokens=16",  //
                                "--method", "lag_kv", "--set", "lag=16", "--set", "sink=4"});
  auto const& results = answer["results"];
  EXPECT_EQ(results[0]["peak_rows"], answer["tokens"]);
  EXPECT_EQ(results[1]["peak_rows"], 16 + 8);
  EXPECT_EQ(results[1]["kept"], 16);
  EXPECT_LT(results[2]["kept"], results[0]["kept"]);
  EXPECT_GT(results[1]["nll"], results[0]["nll"]);
}

TEST_F(run_command, refuses_what_does_not_go_together) {
  auto const refused = [&](std::vector<std::string> arguments, std::string const& says) {
    std::vector<std::string> all{"run", "--model", TIGHTKV_TEST_MODEL};
    all.insert(all.end(), arguments.begin(), arguments.end());
    expect_refused(run(all), "tightkv run", says);
  };
  refused({}, "--context or --stream");
  refused({"--context", context}, "--continuation or --generate");
  refused({"--context", context, "--stream", context}, "--context or --stream");
  refused({"--stream", context, "--generate", "3"}, "--stream goes with neither");
  refused({"--context", context, "--generate", "1", "--method", "h3o"}, "must be one of");
  refused({"--context", context, "--generate", "1", "--set", "keep=0.5"}, "belongs after a --method");
  refused({"--context", (directory / "none.txt").string(), "--generate", "1"}, "no such file");
  expect_refused(run({"run", "--model", context, "--context", context, "--generate", "1"}), "tightkv run", "gguf");
}

}  // namespace tests
