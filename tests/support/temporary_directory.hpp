// SPDX-License-Identifier: Apache-2.0
/// A directory of a test's own, and small files in it.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace tests {

/// Made empty, gone at the end; named after the running test, since ctest runs several at once.
class temporary_directory {
 public:
  temporary_directory() {
    auto const& test = *::testing::UnitTest::GetInstance()->current_test_info();
    auto name = std::string("tightkv.") + test.test_suite_name() + "." + test.name();
    std::ranges::replace(name, '/', '.');  // of a test with parameters
    path_ = std::filesystem::path(::testing::TempDir()) / name;
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  temporary_directory(temporary_directory const&) = delete;
  temporary_directory& operator=(temporary_directory const&) = delete;
  ~temporary_directory() { std::filesystem::remove_all(path_); }

  std::filesystem::path operator/(std::filesystem::path const& name) const { return path_ / name; }
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (auto const& e : std::filesystem::directory_iterator(path_)) found.push_back(e.path().filename().string());
    return found;
  }

 private:
  std::filesystem::path path_;
};

inline std::string text_in(std::filesystem::path const& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void put(std::filesystem::path const& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

}  // namespace tests
