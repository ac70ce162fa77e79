// SPDX-License-Identifier: Apache-2.0
/// Errors say who refused, which rule was broken and what was given.
#pragma once

#include <charconv>
#include <concepts>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>

namespace tightkv {

/// The caller broke a rule. Thrown before anything is touched.
///
///     tightkv::keep_ratio: must be in (0, 1] (got keep_ratio = 2)
class bad_argument : public std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

namespace detail {

/// A name and the value that was given under it.
struct given {
  std::string_view name;
  std::string value;

  given(std::string_view n, std::string_view text) : name(n), value(text) {}
  given(std::string_view n, std::integral auto number) : name(n), value(std::to_string(number)) {}
  given(std::string_view n, std::floating_point auto number) : name(n) {
    char text[32];
    auto const end = std::to_chars(text, text + sizeof text, static_cast<double>(number)).ptr;
    value.assign(text, end);
  }
};

[[noreturn]] inline void refuse(std::string_view who, std::string_view rule, std::initializer_list<given> got = {}) {
  std::string message = "tightkv::";
  message.append(who).append(": ").append(rule);
  char const* separator = " (got ";
  for (auto const& g : got) {
    message.append(separator).append(g.name).append(" = ").append(g.value);
    separator = ", ";
  }
  if (got.size() != 0) message += ')';
  throw bad_argument(message);
}

/// Throws `bad_argument` unless `ok`. For conditions whose values are costly to gather, test first and call `refuse`.
inline void expects(bool ok, std::string_view who, std::string_view rule) {
  if (!ok) refuse(who, rule);
}

template <class Number>
void expects(bool ok, std::string_view who, std::string_view rule, std::string_view name, Number const& value) {
  if (!ok) refuse(who, rule, {given(name, value)});
}

template <class A, class B>
void expects(bool ok, std::string_view who, std::string_view rule, std::string_view a_name, A const& a,
             std::string_view b_name, B const& b) {
  if (!ok) refuse(who, rule, {given(a_name, a), given(b_name, b)});
}

}  // namespace detail
}  // namespace tightkv
