// SPDX-License-Identifier: Apache-2.0
#include <engine/gguf_builder.hpp>
#include <interop/state_builder.hpp>

#include "command.hpp"

namespace tests {

using ::testing::HasSubstr;

class inspect : public cli {
 protected:
  nlohmann::json described(std::filesystem::path const& file) const {
    auto const ran = run({"inspect", file, "--json"});
    EXPECT_EQ(ran.status, 0) << ran.err;
    EXPECT_EQ(ran.err, "");
    return nlohmann::json::parse(ran.out);
  }
  void expect_inspect_refused(std::string_view file, std::string const& says) const {
    put(in, file);
    expect_refused(run({"inspect", in}), "tightkv inspect", says);
    expect_refused(run({"inspect", in, "--json"}), "tightkv inspect", says);
  }
};

TEST_F(inspect, a_dump) {
  dump().add("keys", {2, 3, 4}, noise(24)).add("queries", {2, 1, 4}, std::vector<tightkv::half>(8)).write(in);
  auto const d = described(in);
  EXPECT_EQ(d["kind"], "safetensors");
  EXPECT_EQ(d["file_bytes"], std::filesystem::file_size(in));
  EXPECT_EQ(d["tensor_bytes"], 96 + 16);
  EXPECT_EQ(d["tensors"], nlohmann::json::parse(R"([
    {"name": "keys", "dtype": "F32", "shape": [2, 3, 4], "bytes": 96},
    {"name": "queries", "dtype": "F16", "shape": [2, 1, 4], "bytes": 16}])"));
}

TEST_F(inspect, what_compress_wrote) {
  one_head({{3, 4}, {0, 1}, {1, 1}, {2, 0}}).write(in);
  compressed("l2_norm");
  auto const d = described(out);
  EXPECT_EQ(d["metadata"]["tightkv.method"], "l2_norm");
  EXPECT_EQ(d["tensors"].size(), 4U);
}

TEST_F(inspect, a_model) {
  auto const model = test::gguf_builder()
                         .set("general.architecture", "llama")
                         .tensor("token_embd.weight", {4, 8}, test::tensor_type::f32, std::vector<std::byte>(128))
                         .build();
  put(in, {reinterpret_cast<char const*>(model.data()), model.size()});
  auto const d = described(in);
  EXPECT_EQ(d["kind"], "gguf");
  EXPECT_EQ(d["metadata"]["general.architecture"], "llama");
  ASSERT_EQ(d["tensors"].size(), 1U);
  EXPECT_EQ(d["tensors"][0]["name"], "token_embd.weight");
  EXPECT_EQ(d["tensors"][0]["bytes"], 128);
}

TEST_F(inspect, a_state_of_llama_cpp) {
  test::stream_of_cells const made{
      .cells = 5, .values = test::tensor_type::f32, .transposed = true, .first_position = 2},
      windowed{.cells = 1, .layers = 3};
  auto const bytes = test::state_builder{.sections = {{made}, {windowed}}, .tokens = {1, 2, 3}}.file();
  put(in, {reinterpret_cast<char const*>(bytes.data()), bytes.size()});
  auto const d = described(in);
  EXPECT_EQ(d["kind"], "llama.cpp sequence state");
  EXPECT_EQ(d["form"], "file");
  EXPECT_EQ(d["version"], 3);
  EXPECT_EQ(d["listed_tokens"], 3);
  EXPECT_EQ(d["whole"], false);
  EXPECT_EQ(d["base"]["streams"], nlohmann::json::parse(R"([{"tokens": 5, "positions": [2, 6], "layers": 2,
    "keys": {"rows": [{"type": "F16", "width": 8, "row_bytes": 16, "transposed": false}], "bytes": 160},
    "values": {"rows": [{"type": "F32", "width": 8, "row_bytes": 32, "transposed": true}], "bytes": 320}}])"));
  EXPECT_EQ(d["window"]["streams"][0]["layers"], 3);
  auto const ran = run({"inspect", in});
  EXPECT_EQ(ran.status, 0);
  EXPECT_THAT(ran.out, HasSubstr("5 tokens at positions 2 to 6, 2 layers"));
  EXPECT_THAT(ran.out, HasSubstr("F32 rows of 8 (32 bytes, transposed)"));
  EXPECT_THAT(ran.out, HasSubstr("tokens are missing"));
}

TEST_F(inspect, for_people) {
  one_head({{3, 4}, {0, 1}}).write(in);
  auto const ran = run({"inspect", in});
  EXPECT_EQ(ran.status, 0);
  EXPECT_THAT(ran.out, HasSubstr("safetensors"));
  EXPECT_THAT(ran.out, HasSubstr("keys  F32 [1, 2, 2]  16 bytes"));
}

TEST_F(inspect, refuses_what_it_does_not_know) {
  expect_inspect_refused("", in);
  expect_inspect_refused("A text, and nothing else in it.", "");
  expect_inspect_refused("GGUF", "");
  expect_inspect_refused("qsgg\3", "ends too early");
}

TEST_F(inspect, refuses_what_is_cut_off) {
  one_head({{3, 4}, {0, 1}}).write(in);
  auto const whole = text_in(in);
  expect_inspect_refused(std::string_view(whole).substr(0, whole.size() - 1), "must lie in the file");
}

TEST_F(inspect, refuses_what_is_not_there) {
  auto const nowhere = (directory / "nowhere").string();
  expect_refused(run({"inspect", nowhere}), "tightkv inspect", nowhere);
  expect_refused(run({"inspect"}), "tightkv inspect", "FILE");
}

}  // namespace tests
