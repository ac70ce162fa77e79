// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>
#include <vector>

#include <engine/gguf_builder.hpp>
#include <interop/state_builder.hpp>
#include <tightkv/interop/llama_state.hpp>

#include "command.hpp"

namespace tests {

using test::state_builder;
using test::stream_of_cells;
using test::tensor_type;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::string_view text_of(std::vector<std::byte> const& bytes) {
  return {reinterpret_cast<char const*>(bytes.data()), bytes.size()};
}

/// A state that the test can look into.
class saved {
 public:
  explicit saved(std::filesystem::path const& path)
      : text_(text_in(path)), state(tightkv::llama_state::parse(std::as_bytes(std::span(text_)))) {}

 private:
  std::string text_;

 public:
  tightkv::llama_state::contents state;
  tightkv::llama_state::stream const& stream(std::size_t i = 0) const { return state.base.streams[i]; }
  std::vector<float> key(int head, int token, int kv_heads = 2) const {
    auto const row = keys_of(stream(), kv_heads, tightkv::llama_state::rotation::none).head(head)[token];
    std::vector<float> numbers;
    for (int d = 0; d < row.size; ++d) numbers.push_back(row[d]);
    return numbers;
  }
};

class shrink : public cli {
 protected:
  stream_of_cells const made{.cells = 64};
  state_builder const slot{.sections = {{made}}, .tokens = {1, 2, 3, 4, 5}};

  void put_in(state_builder const& what) const { put(in, text_of(what.file())); }
  outcome shrinking(std::string const& method, std::vector<std::string> const& settings = {},
                    std::vector<std::string> const& more = {"--kv-heads", "2"}) const {
    std::vector<std::string> arguments{"shrink", in, out, "--method", method};
    for (auto const& s : settings) arguments.insert(arguments.end(), {"--set", s});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }
  /// Shrinks, which must succeed, and says what the command printed with --json.
  nlohmann::json shrunk(std::string const& method, std::vector<std::string> const& settings = {},
                        std::vector<std::string> more = {"--kv-heads", "2"}) const {
    more.emplace_back("--json");
    auto const ran = shrinking(method, settings, more);
    EXPECT_EQ(ran.status, 0) << ran.err;
    EXPECT_EQ(ran.err, "");
    return nlohmann::json::parse(ran.out);
  }
};

TEST_F(shrink, a_slot_file) {
  put_in(slot);
  auto const said = shrunk("streaming_llm", {"keep=0.25", "sink=2"});
  saved const after(out);
  EXPECT_EQ(after.state.listed_tokens, 5U);
  EXPECT_EQ(after.stream().tokens(), 16);
  EXPECT_EQ(after.stream().first, 48);
  EXPECT_EQ(after.stream().last, 63);
  for (int h = 0; h < 4; ++h) {  // the first two and the last fourteen
    for (int j = 0; j < 16; ++j) {
      EXPECT_EQ(after.key(h, j), made.stored(h / 2, false, h % 2, j < 2 ? j : 48 + j).numbers);
    }
  }
  EXPECT_EQ(said["method"], "streaming_llm");
  EXPECT_EQ(said["form"], "file");
  EXPECT_EQ(said["bytes_before"], std::filesystem::file_size(in));
  EXPECT_EQ(said["bytes_after"], std::filesystem::file_size(out));
  ASSERT_THAT(said["streams"], SizeIs(1));
  auto const& s = said["streams"][0];
  EXPECT_EQ(s["tokens"], 64);
  EXPECT_EQ(s["kept"], 16);
  EXPECT_THAT(s["positions"], ElementsAre(48, 63));
  EXPECT_EQ(s["protected"], nlohmann::json::parse(R"({"sink": 2, "recent": 0})"));
  EXPECT_EQ(s["rows_before"], 256);
  EXPECT_EQ(s["rows_after"], 64);
  EXPECT_EQ(s["kv_bytes_before"], 64 * 2 * 2 * 16);
  EXPECT_EQ(s["kv_bytes_after"], 16 * 2 * 2 * 16);
}

TEST_F(shrink, every_method_that_needs_no_queries) {
  put_in(slot);
  struct expected {
    char const* method;
    std::vector<std::string> settings;
    int kept, sink, recent;
  };
  for (auto const& [method, settings, kept, sink, recent] :
       {expected{"l2_norm", {"keep=0.25", "sink=3", "recent=5"}, 16, 3, 5},
        expected{"key_diff", {"tokens=10"}, 10, 0, 0}, expected{"random", {"seed=3", "recent=8"}, 32, 0, 8},
        // Of 60 tokens after the sinks, six partitions are judged and keep two of eight; the seventh and the rest stay.
        expected{"lag_kv", {"keep=0.25", "lag=8", "sink=4"}, 28, 4, 12},
        expected{"lag_kv_global", {"keep=0.5", "lag=8", "sink=4"}, 32, 4, 12}}) {
    auto const said = shrunk(method, settings);
    EXPECT_EQ(said["streams"][0]["kept"], kept) << method;
    EXPECT_EQ(said["streams"][0]["protected"]["sink"], sink) << method;
    EXPECT_EQ(said["streams"][0]["protected"]["recent"], recent) << method;
    EXPECT_EQ(saved(out).stream().tokens(), kept) << method;
  }
}

/// Worked out by hand: the shortest keys stay, each head's own.
TEST_F(shrink, each_head_keeps_its_own_tokens) {
  put_in(slot);
  shrunk("l2_norm", {"tokens=5"});
  saved const after(out);
  for (int h = 0; h < 4; ++h) {
    std::vector<std::pair<double, int>> lengths;
    for (int t = 0; t < 64; ++t) {
      double sum = 0;
      for (float const x : made.stored(h / 2, false, h % 2, t).numbers) sum += static_cast<double>(x) * x;
      lengths.emplace_back(sum, t);
    }
    std::ranges::sort(lengths);
    std::vector<int> kept;
    for (std::size_t i = 0; i < 5; ++i) kept.push_back(lengths[i].second);
    std::ranges::sort(kept);
    for (int j = 0; j < 5; ++j) {
      EXPECT_EQ(after.key(h, j), made.stored(h / 2, false, h % 2, kept[static_cast<std::size_t>(j)]).numbers);
    }
  }
}

TEST_F(shrink, threads_change_nothing) {
  put_in(slot);
  shrunk("lag_kv", {"lag=8"}, {"--kv-heads", "2", "--threads", "1"});
  auto const one = text_in(out);
  shrunk("lag_kv", {"lag=8"}, {"--kv-heads", "2", "--threads", "3"});
  EXPECT_EQ(text_in(out), one);
}

TEST_F(shrink, a_buffer_and_several_streams) {
  stream_of_cells const empty{.cells = 0}, transposed{.cells = 20, .transposed = true, .sequence = 1};
  put(in, text_of(state_builder{.sections = {{empty, transposed}}}.buffer()));
  auto const said = shrunk("key_diff");
  EXPECT_EQ(said["form"], "buffer");
  EXPECT_EQ(saved(out).stream(1).tokens(), 10);
}

TEST_F(shrink, layers_with_a_window_are_copied) {
  stream_of_cells const windowed{.cells = 8, .layers = 3, .first_position = 56};
  put_in({.sections = {{made}, {windowed}}});
  auto const said = shrunk("key_diff");
  saved const before(in), after(out);
  EXPECT_EQ(after.stream().tokens(), 32);
  EXPECT_TRUE(std::ranges::equal(after.state.window.bytes, before.state.window.bytes));
  EXPECT_EQ(said["window_bytes"], before.state.window.bytes.size());
}

TEST_F(shrink, keeping_everything_gives_the_same_file) {
  put_in(slot);
  for (auto const& settings : {std::vector<std::string>{"keep=1"}, {"tokens=64"}, {"tokens=100"}}) {
    shrunk("key_diff", settings);
    EXPECT_EQ(text_in(out), text_in(in));
  }
}

/// LagKV looks at channels, so it must see the model's own; a plain q8_0 cache of nearly the same numbers says which.
TEST_F(shrink, rotated_rows_are_judged_in_the_models_basis) {
  stream_of_cells rotated{.cells = 64, .head_dim = 64, .keys = tensor_type::q8_0, .values = tensor_type::q8_0};
  put_in({.sections = {{rotated}}});
  shrunk("lag_kv", {"lag=16", "sink=0"}, {"--kv-heads", "2", "--rotated", "no"});
  auto const plain = text_in(out);
  shrunk("lag_kv", {"lag=16", "sink=0"});
  EXPECT_NE(text_in(out), plain);  // the same rows, taken for rotated ones
  shrunk("key_diff", {}, {"--kv-heads", "2", "--rotated", "no"});
  auto const by_angle = text_in(out);
  shrunk("key_diff");
  EXPECT_EQ(text_in(out), by_angle);
}

TEST_F(shrink, for_people) {
  put_in(slot);
  auto const ran = shrinking("key_diff", {"keep=0.25", "sink=4"});
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("64 tokens -> 16"));
  EXPECT_THAT(ran.out, HasSubstr("positions 48 to 63"));
  EXPECT_THAT(ran.out, HasSubstr("256 -> 64"));
  EXPECT_THAT(ran.out, HasSubstr("the first 4 and the last 0 tokens"));
}

class shrink_by_model : public shrink {
 protected:
  std::string const model = (directory / "model.gguf").string();

  void SetUp() override { put_in(slot); }
  static test::gguf_builder llama(std::string const& name = "llama", std::uint32_t layers = 2) {
    return std::move(test::gguf_builder()
                         .set("general.architecture", name.c_str())
                         .set(name + ".block_count", layers)
                         .set(name + ".embedding_length", 16U)
                         .set(name + ".attention.head_count", 4U));
  }
  nlohmann::json shrunk_by(test::gguf_builder const& with) const {
    put(model, text_of(with.build()));
    return shrunk("key_diff", {}, {"--model", model});
  }
  void expect_model_refused(test::gguf_builder const& with, std::string const& says) const {
    put(model, text_of(with.build()));
    expect_refused(shrinking("key_diff", {}, {"--model", model}), "tightkv shrink", says);
    EXPECT_FALSE(std::filesystem::exists(out));
  }
};

TEST_F(shrink_by_model, takes_the_number_of_heads_from_it) {
  EXPECT_EQ(shrunk_by(llama().set("llama.attention.head_count_kv", 2U))["streams"][0]["kv_heads"], 2);
  // Heads of another size than the embedding suggests, or other numbers of them in other layers.
  EXPECT_EQ(
      shrunk_by(llama().set("llama.attention.head_count_kv", 1U).set("llama.attention.key_length", 8U))["streams"][0]
                                                                                                       ["kv_heads"],
      1);
  EXPECT_EQ(shrunk_by(llama().set("llama.attention.head_count_kv",
                                  std::vector<std::int32_t>{0, 2}))["streams"][0]["kv_heads"],
            2);
}

TEST_F(shrink_by_model, refuses_models_that_see_more_than_a_mask) {
  expect_model_refused(llama("bloom"), "ALiBi");
  expect_model_refused(llama("mpt").set("mpt.attention.max_alibi_bias", 8.0F), "ALiBi");
  expect_model_refused(llama("t5").set("t5.attention.relative_buckets_count", 32U), "T5");
  expect_model_refused(llama("qwen2vl").set("qwen2vl.rope.dimension_sections", std::vector<std::int32_t>{1, 1, 2, 0}),
                       "M-RoPE");
  expect_model_refused(llama("mamba").set("mamba.ssm.state_size", 16U), "recurrent");
  expect_model_refused(llama("llama4"), "chunked");
  expect_model_refused(llama("deepseek2").set("deepseek2.attention.key_length_mla", 192U), "MLA");
}

TEST_F(shrink_by_model, refuses_another_model) {
  expect_model_refused(llama().set("llama.attention.head_count_kv", 3U), "is not the model of this state");
  expect_model_refused(llama("llama", 1).set("llama.attention.head_count_kv", 2U), "is not the model of this state");
  expect_model_refused(test::gguf_builder(), "general.architecture");
  put(model, "no model");
  expect_refused(shrinking("key_diff", {}, {"--model", model}), "tightkv shrink", "GGUF");
}

class shrink_refuses : public shrink {
 protected:
  void SetUp() override { put_in(slot); }
  /// Refused, with the old output left alone, and no output where there was none.
  void expect(std::string const& method, std::vector<std::string> const& settings, std::string const& says,
              std::vector<std::string> const& more = {"--kv-heads", "2"}) const {
    std::filesystem::remove(out);
    expect_refused(shrinking(method, settings, more), "tightkv shrink", says);
    EXPECT_FALSE(std::filesystem::exists(out));
    put(out, "old");
    expect_refused(shrinking(method, settings, more), "tightkv shrink", says);
    EXPECT_EQ(text_in(out), "old");
  }
};

TEST_F(shrink_refuses, methods_that_need_queries) {
  for (char const* method : {"h2o", "snap_kv", "tova", "key_diff_h2o"}) expect(method, {}, "looks at queries");
}

TEST_F(shrink_refuses, what_leaves_no_room_for_protected_tokens) {
  expect("key_diff", {"keep=0.1", "sink=4", "recent=4"}, "do not fit");
  expect("key_diff", {"keep=0.001"}, "do not fit");
  expect("streaming_llm", {"keep=0.04"}, "do not fit");
  expect("lag_kv_global", {"keep=0.1", "lag=8"}, "do not fit");
  expect("key_diff", {"tokens=7", "sink=4", "recent=4"}, "protected");
}

TEST_F(shrink_refuses, unequal_layers) { expect("key_diff", {"skip_layers=1"}, "skip_layers"); }

TEST_F(shrink_refuses, wrong_words) {
  expect("key_diff", {"keep=2"}, "keep");
  expect("key_diff", {"lag=2"}, "lag");
  expect("nothing", {}, "--method");
  expect("key_diff", {}, "either --kv-heads or --model", {});
  expect("key_diff", {}, "either --kv-heads or --model", {"--kv-heads", "2", "--model", in});
  expect("key_diff", {}, "divide", {"--kv-heads", "3"});
  expect("key_diff", {}, "--rotated", {"--kv-heads", "2", "--rotated", "perhaps"});
  expect_refused(run({"shrink", in, out, "--kv-heads", "2"}), "tightkv shrink", "--method");
}

TEST_F(shrink_refuses, the_input_as_output) {
  auto const before = text_in(in);
  expect_refused(run({"shrink", in, in, "--method", "key_diff", "--kv-heads", "2"}), "tightkv shrink", "OUT");
  std::filesystem::create_hard_link(in, out);
  expect_refused(shrinking("key_diff"), "tightkv shrink", "OUT");
  std::filesystem::remove(out);
  std::filesystem::create_symlink(in, out);
  expect_refused(shrinking("key_diff"), "tightkv shrink", "OUT");
  EXPECT_EQ(text_in(in), before);
}

TEST_F(shrink_refuses, an_output_that_cannot_be_written) {
  auto const nowhere = (directory / "missing" / "out").string();
  expect_refused(run({"shrink", in, nowhere, "--method", "key_diff", "--kv-heads", "2"}), "tightkv shrink", nowhere);
}

TEST_F(shrink_refuses, a_state_that_was_shrunk) {
  shrunk("key_diff");
  std::filesystem::rename(out, in);
  expect("key_diff", {}, "shrunk already");
}

TEST_F(shrink_refuses, what_is_no_whole_state) {
  auto const whole = text_in(in);
  put(in, whole.substr(0, whole.size() - 1));
  expect("key_diff", {}, "ends too early");
  put(in, whole + "x");
  expect("key_diff", {}, "");
  put(in, "A text, and nothing else in it.");
  expect("key_diff", {}, "no sequence state");
  put(in, "");
  expect("key_diff", {}, in);
  put_in({.sections = {{made}}, .version = 9});
  expect("key_diff", {}, "version = 9");
  put_in({.sections = {{stream_of_cells{.cells = 0}}}});
  expect("key_diff", {}, "no tokens");
  std::filesystem::remove(in);
  expect("key_diff", {}, in);
}

}  // namespace tests
