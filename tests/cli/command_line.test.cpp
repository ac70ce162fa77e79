// SPDX-License-Identifier: Apache-2.0
// What the command says about itself: --help, --version, methods.
#include <set>

#include <tightkv/version.hpp>

#include "command.hpp"

namespace tests {

using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

class command_line : public cli {
 protected:
  // Runs something that must succeed silently.
  std::string said(std::vector<std::string> const& arguments) const {
    auto const ran = run(arguments);
    EXPECT_EQ(ran.status, 0);
    EXPECT_EQ(ran.err, "");
    return ran.out;
  }
};

TEST_F(command_line, version) {
  auto const number = std::to_string(TIGHTKV_VERSION_MAJOR) + '.' + std::to_string(TIGHTKV_VERSION_MINOR) + '.' +
                      std::to_string(TIGHTKV_VERSION_PATCH);
  EXPECT_EQ(said({"--version"}), "tightkv " + number + '\n');
}

TEST_F(command_line, help_names_the_sub_commands) {
  auto const help = said({"--help"});
  for (char const* name : {"methods", "inspect", "compress", "run", "merge-heads"}) EXPECT_THAT(help, HasSubstr(name));
}

TEST_F(command_line, every_sub_command_has_help) {
  for (char const* name : {"methods", "inspect", "compress", "run", "merge-heads"}) {
    EXPECT_THAT(said({name, "--help"}), HasSubstr(std::string("tightkv ") + name));
  }
}

TEST_F(command_line, compress_help_names_its_options) {
  auto const help = said({"compress", "--help"});
  for (char const* option : {"--method", "--set", "--chunk", "--executor", "--threads", "--json"}) {
    EXPECT_THAT(help, HasSubstr(option));
  }
}

TEST_F(command_line, needs_a_sub_command_it_knows) {
  expect_refused(run({}), "tightkv", "");
  expect_refused(run({"decompress"}), "tightkv", "decompress");
  expect_refused(run({"--fast"}), "tightkv", "--fast");
}

TEST_F(command_line, a_full_disk_under_standard_output_is_an_error) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "needs /dev/full";
  auto const errors = (directory / "errors").string();
  auto const command = '\'' + std::string(TIGHTKV_TEST_CLI) + "' methods >/dev/full 2>'" + errors + '\'';
  EXPECT_EQ(WEXITSTATUS(std::system(command.c_str())), 2);
  EXPECT_THAT(text_in(errors), HasSubstr("standard output"));
}

constexpr char const* names[] = {"lag_kv",  "lag_kv_global", "l2_norm",  "h2o",    "streaming_llm",
                                 "snap_kv", "tova",          "key_diff", "random", "key_diff_h2o"};

class methods_command : public command_line {
 protected:
  nlohmann::json const listed = nlohmann::json::parse(said({"methods", "--json"}))["methods"];

  // The defaults of one method's parameters, in order.
  nlohmann::json defaults(std::string_view name) const {
    nlohmann::json found = nlohmann::json::array();
    for (auto const& m : listed) {
      if (m["name"] != name) continue;
      for (auto const& p : m["parameters"]) found.push_back({p["name"], p["default"]});
    }
    return found;
  }
};

TEST_F(methods_command, lists_them_all) {
  std::set<std::string> found;
  for (auto const& m : listed) found.insert(m["name"]);
  EXPECT_THAT(found, IsSupersetOf(names));
  EXPECT_EQ(found.size(), listed.size());
}

TEST_F(methods_command, says_of_each_what_a_user_asks) {
  for (auto const& m : listed) {
    for (char const* field : {"summary", "needs", "paper", "paper_defaults"}) {
      EXPECT_NE(m[field].get<std::string>(), "") << m["name"] << ' ' << field;
    }
    for (auto const& p : m["parameters"]) EXPECT_NE(p["meaning"].get<std::string>(), "") << m["name"];
  }
}

TEST_F(methods_command, gives_defaults) {
  using nlohmann::json;
  EXPECT_EQ(defaults("lag_kv"), json::parse(R"([["keep", 0.5], ["lag", 128], ["sink", 16], ["value_weight", 1.0],
                                                ["skip_layers", ""]])"));
  EXPECT_EQ(defaults("lag_kv_global"),
            json::parse(R"([["keep", 0.5], ["tokens", null], ["lag", 128], ["sink", 4], ["skip_layers", ""]])"));
  EXPECT_EQ(defaults("snap_kv"), json::parse(R"([["keep", 0.5], ["tokens", null], ["window", 64], ["kernel", 5],
                                                 ["pooling", "avg"], ["skip_layers", ""]])"));
  EXPECT_EQ(defaults("h2o"),
            json::parse(R"([["keep", 0.5], ["tokens", null], ["recent", null], ["skip_layers", ""]])"));
  EXPECT_EQ(defaults("streaming_llm"),
            json::parse(R"([["keep", 0.5], ["tokens", null], ["sink", 4], ["skip_layers", ""]])"));
  EXPECT_EQ(defaults("random"), json::parse(R"([["keep", 0.5], ["tokens", null], ["seed", 0], ["sink", 0],
                                                ["recent", 0], ["skip_layers", ""]])"));
}

TEST_F(methods_command, prints_the_same_for_people) {
  auto const text = said({"methods"});
  for (auto const& m : listed) {
    EXPECT_THAT(text, HasSubstr(m["name"].get<std::string>()));
    EXPECT_THAT(text, HasSubstr(m["summary"].get<std::string>()));
  }
}

class each_method : public methods_command, public ::testing::WithParamInterface<char const*> {};

// Every default can be given back as a setting, and changes nothing.
TEST_P(each_method, takes_the_parameters_it_lists) {
  dump()
      .add("keys", {1, 70, 2}, noise(140, 1))
      .add("values", {1, 70, 2}, noise(140, 2))
      .add("queries", {1, 70, 2}, noise(140, 3))
      .write(in);
  compressed(GetParam());
  auto const by_default = text_in(out);
  std::vector<std::string> settings;
  for (auto const& p : defaults(GetParam())) {
    if (p[1].is_null()) continue;
    settings.push_back(p[0].get<std::string>() + '=' + (p[1].is_string() ? p[1].get<std::string>() : p[1].dump()));
  }
  compressed(GetParam(), settings);
  EXPECT_EQ(text_in(out), by_default);
}

INSTANTIATE_TEST_SUITE_P(methods, each_method, ::testing::ValuesIn(names),
                         [](auto const& given) { return std::string(given.param); });

}  // namespace tests
