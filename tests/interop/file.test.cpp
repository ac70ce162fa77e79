// SPDX-License-Identifier: Apache-2.0
#include <tightkv/interop/file.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#ifdef __linux__
#include <sys/resource.h>

#include <csignal>
#endif

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <support/temporary_directory.hpp>

namespace file_test {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::span<std::byte const> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(write_file, writes_the_pieces_one_after_the_other_in_place_of_the_old_file) {
  tests::temporary_directory const here;
  tests::put(here / "out", "old");
  tightkv::write_file(here / "out", {bytes_of("ne"), {}, bytes_of("w")});
  EXPECT_EQ(tests::text_in(here / "out"), "new");
  EXPECT_THAT(here.names(), ElementsAre("out"));
}

TEST(write_file, whoever_fails_half_way_leaves_the_old_file_and_nothing_else) {
  tests::temporary_directory const here;
  tests::put(here / "out", "old");
  auto const half_of_it = [](auto const& put) {
    put(bytes_of("ne"));
    throw std::runtime_error("no more");
  };
  EXPECT_THROW(tightkv::write_file(here / "out", half_of_it), std::runtime_error);
  EXPECT_EQ(tests::text_in(here / "out"), "old");
  EXPECT_THAT(here.names(), ElementsAre("out"));
}

TEST(write_file_unordered, puts_each_piece_where_it_belongs_and_zeros_between) {
  tests::temporary_directory const here;
  tests::put(here / "out", "old");
  tightkv::write_file_unordered(here / "out", 9, [](auto const& put) {
    put(4, bytes_of("new"));
    put(0, bytes_of("all"));
  });
  EXPECT_EQ(tests::text_in(here / "out"), std::string("all\0new\0\0", 9));
  auto const half_of_it = [](auto const& put) {
    put(3, bytes_of("x"));
    throw std::runtime_error("no more");
  };
  EXPECT_THROW(tightkv::write_file_unordered(here / "out", 4, half_of_it), std::runtime_error);
  for (std::size_t const size : {0U, 3U}) {
    EXPECT_THROW(tightkv::write_file_unordered(here / "out", size, half_of_it), tightkv::bad_argument) << size;
  }
  EXPECT_EQ(tests::text_in(here / "out").size(), 9U);
  EXPECT_THAT(here.names(), ElementsAre("out"));
}

TEST(write_file, a_link_stays_a_link) {
  tests::temporary_directory const here;
  tests::put(here / "real", "old");
  fs::create_symlink("real", here / "link");
  tightkv::write_file(here / "link", {bytes_of("new")});
  EXPECT_TRUE(fs::is_symlink(here / "link"));
  EXPECT_EQ(tests::text_in(here / "real"), "new");
}

TEST(write_file, a_path_that_cannot_be_written_is_refused) {
  tests::temporary_directory const here;
  fs::create_directory(here / "folder");
  EXPECT_THROW(tightkv::write_file(here / "folder", {bytes_of("x")}), tightkv::bad_argument);
  EXPECT_THROW(tightkv::write_file(here / "missing" / "out", {bytes_of("x")}), tightkv::bad_argument);
  EXPECT_THROW(tightkv::write_file("", {bytes_of("x")}), tightkv::bad_argument);
  EXPECT_THAT(here.names(), ElementsAre("folder"));
#ifdef __linux__
  EXPECT_THROW(tightkv::write_file("/dev/null", {bytes_of("x")}), tightkv::bad_argument);
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  fs::create_symlink("/dev/full", here / "full");
  EXPECT_THROW(tightkv::write_file(here / "full", {bytes_of("x")}), tightkv::bad_argument);
#endif
}

#ifdef __linux__
TEST(write_file, a_disk_that_fills_up_leaves_the_old_file_and_nothing_else) {
  tests::temporary_directory const here;
  tests::put(here / "out", "old");
  std::string const large(100'000, 'x');
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit small = before;
  small.rlim_cur = 50'000;
  auto const old_handler = std::signal(SIGXFSZ, SIG_IGN);  // so that writing more fails, as on a full disk
  setrlimit(RLIMIT_FSIZE, &small);
  EXPECT_THROW(tightkv::write_file(here / "out", {bytes_of(large)}), tightkv::bad_argument);
  auto const whole = [&](auto const& put) { put(0, bytes_of(large)); };
  EXPECT_THROW(tightkv::write_file_unordered(here / "out", large.size(), whole), tightkv::bad_argument);
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(tests::text_in(here / "out"), "old");
  EXPECT_THAT(here.names(), ElementsAre("out"));
}
#endif

TEST(write_file, a_temporary_file_of_somebody_else_is_left_alone) {
  tests::temporary_directory const here;
  tests::put(here / "out.part0", "theirs");
  tightkv::write_file(here / "out", {bytes_of("new")});
  EXPECT_EQ(tests::text_in(here / "out.part0"), "theirs");
  EXPECT_EQ(tests::text_in(here / "out"), "new");
}

TEST(read_file, gives_the_whole_file_aligned) {
  tests::temporary_directory const here;
  tests::put(here / "in", std::string(1000, 'x') + "y");
  auto const file = tightkv::read_file(here / "in");
  ASSERT_EQ(file.bytes().size(), 1001U);
  EXPECT_EQ(file.bytes()[1000], std::byte{'y'});
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(file.bytes().data()) % 64, 0U);
}

TEST(read_file, says_what_is_wrong_with_a_path) {
  tests::temporary_directory const here;
  tests::put(here / "empty", "");
  auto const complaint_about_path = [](fs::path const& path) -> std::string {
    try {
      tightkv::read_file(path);
    } catch (tightkv::bad_argument const& e) {
      return e.what();
    }
    return "nothing";
  };
  EXPECT_THAT(complaint_about_path(here / "missing"), HasSubstr("no such file"));
  EXPECT_THAT(complaint_about_path(here / "empty"), HasSubstr("empty"));
  EXPECT_THAT(complaint_about_path(here / "."), HasSubstr("directory"));
  EXPECT_THAT(complaint_about_path(""), HasSubstr("no such file"));
#ifdef __linux__
  EXPECT_THAT(complaint_about_path("/dev/null"), HasSubstr("regular file"));
#endif
}

}  // namespace file_test
