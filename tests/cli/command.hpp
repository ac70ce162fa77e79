// SPDX-License-Identifier: Apache-2.0
/// The `tightkv` command as a user runs it, and small dumps to run it on.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/wait.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <tightkv/interop/safetensors.hpp>

#include <support/temporary_directory.hpp>

namespace tests {

struct outcome {
  int status;
  std::string out;  // standard output
  std::string err;  // standard error
};

/// A dump in the making: tensors that own their elements.
class dump {
 public:
  template <class T>
  dump& add(std::string name, std::vector<std::size_t> shape, std::vector<T> const& elements) {
    auto const* const bytes = reinterpret_cast<std::byte const*>(elements.data());
    tensors_.push_back({std::move(name), tightkv::safetensors::tensor_of<T>("", {}, {}).dtype, std::move(shape),
                        std::vector<std::byte>(bytes, bytes + elements.size() * sizeof(T))});
    return *this;
  }
  void write(std::filesystem::path const& path) const {
    tightkv::safetensors::contents file;
    for (auto const& t : tensors_) file.tensors.push_back({t.name, t.type, t.shape, t.bytes});
    tightkv::safetensors::write(path, file);
  }

 private:
  struct owned {
    std::string name;
    tightkv::safetensors::dtype type;
    std::vector<std::size_t> shape;
    std::vector<std::byte> bytes;
  };
  std::vector<owned> tensors_;
};

/// One KV head whose keys and values are these rows, all of the same length.
using rows = std::vector<std::vector<float>>;
inline dump one_head(rows const& keys, rows const& values) {
  std::vector<std::size_t> const shape{1, keys.size(), keys.front().size()};
  auto const flat = [](rows const& r) {
    std::vector<float> all;
    for (auto const& row : r) all.insert(all.end(), row.begin(), row.end());
    return all;
  };
  return dump().add("keys", shape, flat(keys)).add("values", shape, flat(values));
}
inline dump one_head(rows const& keys) { return one_head(keys, keys); }

/// Numbers between -1 and 1, without a pattern.
inline std::vector<float> noise(std::size_t count, std::uint32_t seed = 1) {
  std::vector<float> x(count);
  for (auto& v : x) {
    seed = seed * 1664525U + 1013904223U;
    v = static_cast<float>(seed >> 8U) / 8388608.0F - 1.0F;
  }
  return x;
}

/// What a compressed file holds.
class result {
 public:
  explicit result(std::filesystem::path const& path)
      : bytes_(text_in(path)), file_(tightkv::safetensors::parse(std::as_bytes(std::span(bytes_)))) {}

  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (auto const& t : file_.tensors) found.push_back(t.name);
    return found;
  }
  tightkv::safetensors::tensor const& at(std::string_view name) const { return file_.at(name); }
  template <class T>
  std::vector<T> values(std::string_view name) const {
    std::vector<T> storage;
    auto const all = at(name).as<T>(storage);
    return {all.begin(), all.end()};
  }
  std::vector<std::int32_t> kept(std::string_view name = "kept") const { return values<std::int32_t>(name); }
  std::vector<float> scores(std::string_view name = "scores") const { return values<float>(name); }

 private:
  std::string bytes_;
  tightkv::safetensors::contents file_;
};

/// Runs the command; its files lie in a directory of the test's own.
class cli : public ::testing::Test {
 protected:
  temporary_directory const directory;
  std::string const in = (directory / "in.safetensors").string();
  std::string const out = (directory / "out.safetensors").string();

  outcome run(std::vector<std::string> const& arguments) const { return run_program(TIGHTKV_TEST_CLI, arguments); }
  outcome run_program(std::string const& program, std::vector<std::string> const& arguments) const {
    auto const to = [&](char const* name) { return (directory / name).string(); };
    std::string line = quoted(program);
    for (auto const& a : arguments) line += ' ' + quoted(a);
    int const ended = std::system((line + " >" + quoted(to("stdout")) + " 2>" + quoted(to("stderr"))).c_str());
    return {WIFEXITED(ended) ? WEXITSTATUS(ended) : -1, text_in(to("stdout")), text_in(to("stderr"))};
  }
  outcome compressing(std::string const& method, std::vector<std::string> const& settings = {},
                      std::vector<std::string> const& more = {}) const {
    std::vector<std::string> arguments{"compress", in, out, "--method", method};
    for (auto const& s : settings) arguments.insert(arguments.end(), {"--set", s});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }
  /// Compresses, which must succeed, and reads what came out.
  result compressed(std::string const& method, std::vector<std::string> const& settings = {},
                    std::vector<std::string> const& more = {}) const {
    auto const ran = compressing(method, settings, more);
    EXPECT_EQ(ran.status, 0) << ran.err;
    EXPECT_EQ(ran.err, "");
    return result(out);
  }

 private:
  static std::string quoted(std::string const& word) {
    std::string safe = "'";
    for (char const c : word) safe += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return safe + "'";
  }
};

/// One line on standard error, by this command, and nothing on standard output.
inline void expect_refused(outcome const& ran, std::string const& command, std::string const& says) {
  EXPECT_EQ(ran.status, 2);
  EXPECT_EQ(ran.out, "");
  EXPECT_THAT(ran.err, ::testing::StartsWith(command + ": "));
  EXPECT_THAT(ran.err, ::testing::HasSubstr(says));
  EXPECT_EQ(ran.err.find('\n'), ran.err.size() - 1) << ran.err;
}

/// Within fp32 rounding of the number worked out by hand, or NaN where that is.
MATCHER_P(about, expected, "") {
  if (expected != expected) return arg != arg;
  return arg >= expected - 2e-6 && arg <= expected + 2e-6;
}
inline auto not_judged() { return about(static_cast<double>(NAN)); }

}  // namespace tests
