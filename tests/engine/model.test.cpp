// SPDX-License-Identifier: Apache-2.0
#include "model.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

#include <engine/tiny_model.hpp>

#include "mapped_file.hpp"

namespace model_test {

using test::tiny_model;
using ::testing::HasSubstr;

std::string refusal_of(std::vector<std::byte> const& bytes) {
  engine::thread_pool pool{1};
  try {
    engine::model{tightkv::gguf::file{bytes}, pool};
  } catch (tightkv::bad_argument const& e) {
    return e.what();
  }
  return "accepted";
}

TEST(model, reads_shape_and_weights) {
  tiny_model const tiny{{}, test::output_weights::own};
  auto const bytes = tiny.builder.build();
  engine::thread_pool pool{2};
  engine::model const m{tightkv::gguf::file{bytes}, pool};
  EXPECT_EQ(m.shape().layers, 3);
  EXPECT_EQ(m.shape().kv_heads, 2);
  EXPECT_EQ(m.shape().vocabulary, 50);
  EXPECT_EQ(m.shape().rope_base, 100.0F);
  EXPECT_EQ(m.layer(2).down.rows(), 24);
  EXPECT_EQ(m.layer(2).down.cols(), 40);
  EXPECT_EQ(m.layer(1).key(3, 5), tiny.weights.at("blk.1.attn_k")[3 * 24 + 5]);
  EXPECT_EQ(m.output()(49, 1), tiny.weights.at("output")[49 * 24 + 1]);
}

TEST(model, uses_the_embedding_twice_when_there_is_no_output) {
  auto const bytes = tiny_model{}.builder.build();
  engine::thread_pool pool{1};
  engine::model const m{tightkv::gguf::file{bytes}, pool};
  EXPECT_EQ(&m.output(), &m.embedding());
}

TEST(model, refuses_what_it_would_get_wrong) {
  EXPECT_THAT(refusal_of(test::gguf_builder{}.set("general.architecture", "mamba").build()),
              HasSubstr("must be llama"));
  EXPECT_THAT(refusal_of(test::gguf_builder{}.set("general.architecture", "llama").build()),
              HasSubstr("lacks a key (got key = llama.block_count)"));
  tiny_model biased;
  biased.builder.tensor("blk.0.attn_q.bias", {48}, std::vector<float>(48));
  EXPECT_THAT(refusal_of(biased.builder.build()), HasSubstr("tensors that this engine does not know"));
  tiny_model scaled;
  scaled.builder.set("llama.rope.scaling.type", "yarn");
  EXPECT_THAT(refusal_of(scaled.builder.build()), HasSubstr("scaled RoPE"));
  EXPECT_THAT(refusal_of(tiny_model{{.query_heads = 5}}.builder.build()), HasSubstr("multiple of KV heads"));
  EXPECT_THAT(refusal_of(tiny_model{{.rope_dimensions = 7}}.builder.build()), HasSubstr("even number"));
  EXPECT_THAT(refusal_of(tiny_model{{.rope_dimensions = 10}}.builder.build()), HasSubstr("even number"));
  EXPECT_THAT(refusal_of(tiny_model{{.layers = 0}}.builder.build()), HasSubstr("must be in [1, 2^24]"));
}

TEST(model, refuses_tensors_of_another_shape) {
  tiny_model const tiny;
  auto bytes = tiny.builder.build();
  // The first occurrence of the width is the metadata's.
  std::string_view const key = "llama.embedding_length";
  std::string_view const all{reinterpret_cast<char const*>(bytes.data()), bytes.size()};
  bytes[all.find(key) + key.size() + 4] = std::byte{25};
  EXPECT_THAT(refusal_of(bytes), HasSubstr("a tensor's shape must be what the metadata says"));
}

TEST(mapped_file, maps_what_is_there) {
  auto const path = testing::TempDir() + "tightkv_mapped_file_test";
  std::ofstream(path) << "hello";
  {
    engine::mapped_file const first{path};
    ASSERT_EQ(first.bytes().size(), 5U);
    EXPECT_EQ(first.bytes()[4], std::byte{'o'});
  }
  std::ofstream(path, std::ios::trunc).flush();
  EXPECT_THROW(engine::mapped_file{path}, tightkv::bad_argument);  // empty
  std::remove(path.c_str());
  EXPECT_THROW(engine::mapped_file{path}, tightkv::bad_argument);
  EXPECT_THROW(engine::mapped_file{testing::TempDir()}, tightkv::bad_argument);
}

TEST(thread_pool, runs_each_index_once_and_reports_failures) {
  for (int const threads : {1, 2, 7}) {
    engine::thread_pool pool{threads};
    for (int round = 0; round < 50; ++round) {
      std::vector<std::atomic<int>> calls(100);
      pool.run(100, [&](int i) { ++calls[static_cast<std::size_t>(i)]; });
      for (auto const& c : calls) EXPECT_EQ(c, 1);
      auto const fail = [](int i) { tightkv::detail::expects(i != 37, "test", "37"); };
      EXPECT_THROW(pool.run(100, fail), tightkv::bad_argument);
    }
    pool.run(0, [](int) { FAIL(); });
  }
  EXPECT_THROW(engine::thread_pool{0}, tightkv::bad_argument);
}

}  // namespace model_test
