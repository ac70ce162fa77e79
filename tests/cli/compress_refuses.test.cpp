// SPDX-License-Identifier: Apache-2.0
// Bad input: exit status 2, one line that says which rule was broken, and an output that is absent or as it was.
#include <ostream>

#include "command.hpp"

namespace tests {
namespace {

using ::testing::UnorderedElementsAre;
using words = std::vector<std::string>;

// Two KV heads and four query heads over six tokens.
dump good() {
  return dump()
      .add("keys", {2, 6, 4}, noise(48, 1))
      .add("values", {2, 6, 4}, noise(48, 2))
      .add("queries", {4, 6, 4}, noise(96, 3));
}

dump shaped(std::vector<std::size_t> const& keys, std::vector<std::size_t> const& values,
            std::vector<std::size_t> const& queries = {}) {
  auto const elements = [](std::vector<std::size_t> const& shape) {
    std::size_t count = 1;
    for (auto const extent : shape) count *= extent;
    return std::vector<float>(count);
  };
  dump d;
  d.add("keys", keys, elements(keys)).add("values", values, elements(values));
  if (!queries.empty()) d.add("queries", queries, elements(queries));
  return d;
}

}  // namespace

class refusal : public cli {
 protected:
  void expect_refusal(words const& arguments, std::string const& says) const {
    expect_refused(run(arguments), "tightkv compress", says);
    EXPECT_FALSE(std::filesystem::exists(out));
    put(out, "older");
    expect_refused(run(arguments), "tightkv compress", says);
    EXPECT_EQ(text_in(out), "older");
    EXPECT_THAT(directory.names(), UnorderedElementsAre("in.safetensors", "out.safetensors", "stdout", "stderr"));
  }
};

// --- on the command line ---

struct bad_words {
  std::string name;
  words arguments;  // after `compress IN OUT`
  std::string says;
};
inline bad_words setting(std::string const& name, std::string const& method, words const& assignments,
                         std::string const& says) {
  words arguments{"--method", method};
  for (auto const& a : assignments) arguments.insert(arguments.end(), {"--set", a});
  return {name, arguments, says};
}
inline void PrintTo(bad_words const& w, std::ostream* out) { *out << w.name; }

class bad_command_line : public refusal, public ::testing::WithParamInterface<bad_words> {};

TEST_P(bad_command_line, is_refused) {
  good().write(in);
  words arguments{"compress", in, out};
  auto const& more = GetParam().arguments;
  arguments.insert(arguments.end(), more.begin(), more.end());
  expect_refusal(arguments, GetParam().says);
}

std::vector<bad_words> const command_lines{
    {"no_method", {}, "--method"},
    {"two_methods", {"--method", "tova", "--method", "h2o"}, "--method"},
    {"unknown_method", {"--method", "foo"}, "one of lag_kv, "},
    {"a_setting_of_no_method", {"--set", "keep=1", "--method", "tova"}, "--method"},
    {"chunk_0", {"--method", "tova", "--chunk", "0"}, "--chunk"},
    {"chunk_of_words", {"--method", "tova", "--chunk", "all"}, "--chunk"},
    {"threads_0", {"--method", "tova", "--threads", "0"}, "--threads"},
    {"unknown_executor", {"--method", "tova", "--executor", "gpu"}, "--executor"},
    {"unknown_option", {"--method", "tova", "--fast"}, "--fast"},
    {"a_third_path", {"--method", "tova", "third"}, "third"},
    setting("unknown_key", "l2_norm", {"lag=2"}, "l2_norm has only keep, tokens, sink, recent"),
    setting("key_of_another_method", "lag_kv", {"tokens=3"}, "tokens"),
    setting("no_value", "l2_norm", {"keep"}, "KEY=VALUE"),
    setting("a_key_of_two_lines", "l2_norm", {"a\nb=1"}, "a b"),
    setting("keep_and_tokens", "l2_norm", {"keep=0.5", "tokens=3"}, "not both"),
    setting("tokens_and_keep", "l2_norm", {"tokens=3", "keep=0.5"}, "not both"),
    setting("keep_0", "l2_norm", {"keep=0"}, "(0, 1]"),
    setting("keep_above_1", "lag_kv", {"keep=1.5"}, "1.5"),
    setting("keep_nan", "l2_norm", {"keep=nan"}, "nan"),
    setting("keep_of_words", "l2_norm", {"keep=half"}, "must be a number (got value = half)"),
    setting("tokens_0", "l2_norm", {"tokens=0"}, "at least 1"),
    setting("tokens_not_whole", "l2_norm", {"tokens=2.5"}, "whole number"),
    setting("tokens_huge", "l2_norm", {"tokens=99999999999"}, "out of range"),
    setting("sink_negative", "l2_norm", {"sink=-1"}, "negative"),
    setting("tokens_below_protected", "l2_norm", {"tokens=3", "sink=2", "recent=2"}, "protected = 4"),
    setting("tokens_below_recent", "h2o", {"tokens=3", "recent=4"}, "protected = 4"),
    setting("tokens_below_window", "snap_kv", {"tokens=3", "window=4"}, "protected = 4"),
    setting("window_0", "snap_kv", {"window=0"}, "window"),
    setting("kernel_even", "snap_kv", {"window=2", "kernel=4"}, "odd"),
    setting("pooling", "snap_kv", {"window=2", "pooling=mean"}, "avg or max"),
    setting("lag_1", "lag_kv", {"lag=1"}, "at least 2"),
    setting("value_weight", "lag_kv", {"value_weight=inf"}, "finite"),
    setting("seed_negative", "random", {"seed=-1"}, "seed"),
    setting("skip_a_layer_too_many", "l2_norm", {"skip_layers=0,1"}, "layer = 1"),
    setting("skip_words", "l2_norm", {"skip_layers=first"}, "first"),
    setting("skip_nothing_at_the_end", "l2_norm", {"skip_layers=0,"}, "skip_layers"),
};
INSTANTIATE_TEST_SUITE_P(compress, bad_command_line, ::testing::ValuesIn(command_lines),
                         [](auto const& given) { return given.param.name; });

// --- in the dump ---

struct bad_dump {
  std::string name;
  dump contents;
  std::string says;
  std::string method = "l2_norm";
  words settings = {};
};
inline void PrintTo(bad_dump const& d, std::ostream* out) { *out << d.name; }

class bad_dumps : public refusal, public ::testing::WithParamInterface<bad_dump> {};

TEST_P(bad_dumps, are_refused) {
  GetParam().contents.write(in);
  words arguments{"compress", in, out, "--method", GetParam().method};
  for (auto const& s : GetParam().settings) arguments.insert(arguments.end(), {"--set", s});
  expect_refusal(arguments, GetParam().says);
}

std::vector<bad_dump> const dumps{
    {"nothing", dump(), "keys"},
    {"no_values", dump().add("keys", {1, 2, 1}, noise(2)), "values"},
    {"with_and_without_prefix", shaped({1, 2, 1}, {1, 2, 1}).add("layers.1.keys", {1, 2, 1}, noise(2)), "prefix"},
    {"no_values_in_one_layer", dump().add("layers.1.keys", {1, 2, 1}, noise(2)), "layers.1.values"},
    {"no_queries", shaped({1, 2, 1}, {1, 2, 1}), "queries", "h2o"},
    {"no_queries_for_tova", shaped({1, 2, 1}, {1, 2, 1}), "queries", "tova"},
    {"too_few_queries", shaped({1, 6, 1}, {1, 6, 1}, {1, 5, 1}), "queries = 5", "h2o"},
    {"a_window_too_small", shaped({1, 6, 1}, {1, 6, 1}, {1, 2, 1}), "window = 3", "snap_kv", {"window=3"}},
    {"more_queries_than_tokens", shaped({1, 2, 1}, {1, 2, 1}, {1, 3, 1}), "queries = 3"},
    {"a_group_and_a_half", shaped({2, 2, 1}, {2, 2, 1}, {3, 2, 1}), "query_heads = 3"},
    {"queries_of_another_width", shaped({1, 2, 4}, {1, 2, 4}, {1, 2, 3}), "head_dim"},
    {"values_of_more_heads", shaped({1, 2, 1}, {2, 2, 1}), "same shape"},
    {"values_of_more_tokens", shaped({1, 2, 1}, {1, 3, 1}), "same shape"},
    {"two_dimensions", shaped({2, 1}, {2, 1}), "three dimensions"},
    {"no_heads", shaped({0, 2, 1}, {0, 2, 1}), "kv_heads = 0"},
    {"no_channels", shaped({1, 2, 0}, {1, 2, 0}), "head_dim = 0"},
    {"two_types", dump().add("keys", {1, 1, 1}, noise(1)).add<tightkv::half>("values", {1, 1, 1}, {{}}), "same dtype"},
    {"integers", dump().add<int>("keys", {1, 1, 1}, {1}).add<int>("values", {1, 1, 1}, {1}), "I32"},
    {"doubles", dump().add<double>("keys", {1, 1, 1}, {1}).add<double>("values", {1, 1, 1}, {1}), "F64"},
};
INSTANTIATE_TEST_SUITE_P(compress, bad_dumps, ::testing::ValuesIn(dumps),
                         [](auto const& given) { return given.param.name; });

// --- in the files ---

class bad_file : public refusal {
 protected:
  void expect_file_refused(std::string const& says) const {
    expect_refusal({"compress", in, out, "--method", "l2_norm"}, says);
  }
  // A file with this header, and no data.
  void put_header(std::string const& header) const {
    std::string length(8, '\0');
    length[0] = static_cast<char>(header.size());
    put(in, length + header);
  }
};

TEST_F(bad_file, empty) {
  put(in, "");
  expect_file_refused("empty");
}

TEST_F(bad_file, cut_off_in_the_data) {
  good().write(in);
  auto const whole = text_in(in);
  put(in, std::string_view(whole).substr(0, whole.size() - 1));
  expect_file_refused("must lie in the file");
}

TEST_F(bad_file, cut_off_in_the_header) {
  good().write(in);
  put(in, text_in(in).substr(0, 40));
  expect_file_refused("header");
}

TEST_F(bad_file, of_another_kind) {
  put(in, "A text that goes on for a while, but never becomes a safetensors file.");
  expect_file_refused("safetensors");
}

TEST_F(bad_file, with_a_header_of_no_end) {
  put(in, std::string(8, '\xff') + "{}");
  expect_file_refused("header bytes = 18446744073709551615");
}

TEST_F(bad_file, with_a_shape_that_overflows) {
  put_header(R"({"keys":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,0]}})");
  expect_file_refused("overflows");
}

TEST_F(bad_file, with_offsets_outside) {
  put_header(R"({"keys":{"dtype":"F32","shape":[1,1,1],"data_offsets":[0,4]}})");
  expect_file_refused("must lie in the file");
}

class bad_path : public refusal {
 protected:
  bad_path() { good().write(in); }
};

TEST_F(bad_path, no_input) {
  auto const nowhere = (directory / "nowhere").string();
  expect_refusal({"compress", nowhere, out, "--method", "l2_norm"}, nowhere);
}

TEST_F(bad_path, input_is_a_directory) {
  expect_refused(run({"compress", directory / "", out, "--method", "l2_norm"}), "tightkv compress", "directory");
}

TEST_F(bad_path, output_in_no_directory) {
  auto const nowhere = (directory / "no" / "out").string();
  expect_refused(run({"compress", in, nowhere, "--method", "l2_norm"}), "tightkv compress", nowhere);
}

TEST_F(bad_path, output_is_a_directory) {
  std::filesystem::create_directory(out);
  expect_refused(run({"compress", in, out, "--method", "l2_norm"}), "tightkv compress", "directory");
  EXPECT_TRUE(std::filesystem::is_empty(out));
}

TEST_F(bad_path, paths_missing) {
  expect_refused(run({"compress"}), "tightkv compress", "IN");
  expect_refused(run({"compress", in}), "tightkv compress", "OUT");
}

class same_file : public cli {
 protected:
  same_file() {
    good().write(in);
    before_ = text_in(in);
  }
  void expect_same(std::filesystem::path const& from, std::filesystem::path const& to) const {
    expect_refused(run({"compress", from, to, "--method", "l2_norm"}), "tightkv compress", "input");
    EXPECT_EQ(text_in(in), before_);
  }

 private:
  std::string before_;
};

TEST_F(same_file, by_the_same_path) { expect_same(in, in); }

TEST_F(same_file, by_another_path) {
  std::filesystem::create_directory(directory / "sub");
  expect_same(in, directory / "sub" / ".." / "in.safetensors");
}

TEST_F(same_file, by_a_symlink) {
  std::filesystem::create_symlink("in.safetensors", out);
  expect_same(in, out);
  expect_same(out, in);
  EXPECT_TRUE(std::filesystem::is_symlink(out));
}

TEST_F(same_file, by_a_hard_link) {
  std::filesystem::create_hard_link(in, out);
  expect_same(in, out);
}

}  // namespace tests
