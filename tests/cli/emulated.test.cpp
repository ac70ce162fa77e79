// SPDX-License-Identifier: Apache-2.0
// The command on the emulated CUDA kernels writes the files that the CPU writes.
#include <cmath>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <tightkv/core/half.hpp>

#include "command.hpp"

namespace tests {
namespace {

/// A layer of two KV heads, four query heads and 70 tokens, the last 70 of which have their queries.
template <class T>
dump layer_of_noise() {
  auto const as = [](std::vector<float> const& x) {
    std::vector<T> out;
    for (float const v : x) out.push_back(T(v));
    return out;
  };
  std::size_t const heads = 2, tokens = 70, head_dim = 24;
  auto const size = heads * tokens * head_dim;
  return std::move(dump()
                       .add("keys", {heads, tokens, head_dim}, as(noise(size, 1)))
                       .add("values", {heads, tokens, head_dim}, as(noise(size, 2)))
                       .add("queries", {2 * heads, tokens, head_dim}, as(noise(2 * size, 3))));
}

struct compressing_with {
  char const* method;
  std::vector<std::string> settings;
  bool same_bits;  // of the scores; attention is summed in another order
};
std::vector<compressing_with> const methods{
    {"lag_kv", {"lag=8", "sink=4"}, true},
    {"lag_kv_global", {"lag=8", "sink=4"}, true},
    {"l2_norm", {"sink=2", "recent=3"}, true},
    {"key_diff", {}, true},
    {"random", {"seed=5"}, true},
    {"streaming_llm", {}, true},
    {"h2o", {}, false},
    {"tova", {}, false},
    {"snap_kv", {"window=8"}, false},
    {"key_diff_h2o", {}, false},
};

class emulated : public cli {
 protected:
  std::string const device_out = (directory / "device.safetensors").string();

  void expect_same_files(compressing_with const& c, std::vector<std::string> const& more) {
    SCOPED_TRACE(c.method);
    compressed(c.method, c.settings, more);
    auto arguments = std::vector<std::string>{"compress", in, device_out, "--method", c.method};
    for (auto const& s : c.settings) arguments.insert(arguments.end(), {"--set", s});
    arguments.insert(arguments.end(), more.begin(), more.end());
    auto const ran = run_program(TIGHTKV_TEST_EMULATED, arguments);
    ASSERT_EQ(ran.status, 0) << ran.err;
    if (c.same_bits) {
      EXPECT_TRUE(text_in(out) == text_in(device_out));
      return;
    }
    result const want(out), got(device_out);
    EXPECT_EQ(got.names(), want.names());
    EXPECT_EQ(got.kept(), want.kept());
    auto const a = got.scores(), b = want.scores();
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (std::isnan(b[i])) {
        EXPECT_TRUE(std::isnan(a[i])) << i;
      } else {
        EXPECT_NEAR(a[i], b[i], 1e-5F * std::fabs(b[i]) + 1e-7F) << i;
      }
    }
    for (auto const* const rows : {"keys", "values"}) {
      auto const x = got.at(rows).bytes, y = want.at(rows).bytes;
      EXPECT_TRUE(std::equal(x.begin(), x.end(), y.begin(), y.end())) << rows;
    }
  }
};

TEST_F(emulated, writes_the_cpu_s_files_for_every_method) {
  layer_of_noise<float>().write(in);
  for (auto const& c : methods) expect_same_files(c, {});
}

TEST_F(emulated, writes_the_cpu_s_files_of_half) {
  layer_of_noise<tightkv::half>().write(in);
  for (auto const& c : methods) expect_same_files(c, {});
}

TEST_F(emulated, writes_the_cpu_s_files_of_bfloat16_in_chunks) {
  layer_of_noise<tightkv::bfloat16>().write(in);
  for (auto const& c : methods) expect_same_files(c, {"--chunk", "30"});
}

TEST_F(emulated, has_the_other_executors_and_the_plain_command_refuses_this_one) {
  layer_of_noise<float>().write(in);
  compressed("l2_norm", {}, {"--executor", "plain"});
  auto const plain =
      run_program(TIGHTKV_TEST_EMULATED, {"compress", in, device_out, "--method", "l2_norm", "--executor", "plain"});
  EXPECT_EQ(plain.status, 0) << plain.err;
  EXPECT_TRUE(text_in(out) == text_in(device_out));
  expect_refused(compressing("l2_norm", {}, {"--executor", "cuda"}), "tightkv compress", "only cpu and plain");
}

}  // namespace
}  // namespace tests
