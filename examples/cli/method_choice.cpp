// SPDX-License-Identifier: Apache-2.0
#include "method_choice.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <type_traits>

namespace tightkv::cli {
namespace {

template <class Number>
Number number(std::string_view key, std::string_view text) {
  Number value{};
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range) {
    detail::refuse(key, "is out of range", {{"value", std::string(text)}});
  }
  if (error != std::errc{} || end != text.data() + text.size()) {
    detail::refuse(key, std::is_integral_v<Number> ? "must be a whole number" : "must be a number",
                   {{"value", std::string(text)}});
  }
  return value;
}

void assign(int& member, std::string_view key, std::string_view text) { member = number<int>(key, text); }
void assign(float& member, std::string_view key, std::string_view text) { member = number<float>(key, text); }
void assign(std::uint64_t& member, std::string_view key, std::string_view text) {
  member = number<std::uint64_t>(key, text);
}
void assign(std::optional<int>& member, std::string_view key, std::string_view text) {
  member = number<int>(key, text);
}
void assign(keep_ratio& member, std::string_view key, std::string_view text) {
  member = {number<double>(key, text)};
  member.check();
}
void assign(budget& member, std::string_view key, std::string_view text) {
  if (key == "tokens") {
    member = keep_tokens{number<int>(key, text)};
  } else {
    member = keep_ratio{number<double>(key, text)};
  }
  check(member);
}
void assign(pooling& member, std::string_view key, std::string_view text) {
  if (text != "avg" && text != "max") detail::refuse(key, "must be avg or max", {{"value", std::string(text)}});
  member = text == "avg" ? pooling::average : pooling::maximum;
}

}  // namespace

method_choice::method_choice(std::string_view name) {
  bool found = false;
  std::string known;
  for_each_method([&](auto const& m) {
    if (m.info.name == name) {
      method_ = m;
      found = true;
    }
    known.append(known.empty() ? "" : ", ").append(m.info.name);
  });
  if (!found) detail::refuse("--method", "must be one of " + known, {{"method", std::string(name)}});
}

std::string_view method_choice::name() const {
  return std::visit([](auto const& m) { return m.info.name; }, method_);
}

int method_choice::query_window() const {
  return std::visit(
      []<class M>(M const& m) {
        if constexpr (requires(typename M::state s) { s.history; }) return all_queries;
        if constexpr (requires { m.window; }) return m.window;
        return std::is_same_v<M, tova> ? 1 : 0;
      },
      method_);
}

void method_choice::set(std::string_view assignment) {
  auto const equals = assignment.find('=');
  if (equals == std::string_view::npos) {
    detail::refuse("--set", "needs KEY=VALUE", {{"set", std::string(assignment)}});
  }
  auto const key = assignment.substr(0, equals);
  auto value = assignment.substr(equals + 1);

  if (key == "skip_layers") {
    skip_layers_.clear();
    for (bool more = !value.empty(); more;) {
      auto const comma = std::min(value.find(','), value.size());
      skip_layers_.push_back(number<int>(key, value.substr(0, comma)));
      more = comma < value.size();
      value.remove_prefix(std::min(comma + 1, value.size()));
    }
    return;
  }

  has_keep_ = has_keep_ || key == "keep";
  has_tokens_ = has_tokens_ || key == "tokens";
  bool found = false;
  std::string known;
  std::visit(
      [&](auto& m) {
        m.parameters(m, [&](std::string_view parameter, auto& member, std::string_view) {
          constexpr bool is_budget = std::is_same_v<std::remove_cvref_t<decltype(member)>, budget>;
          if (key == parameter || (is_budget && key == "tokens")) {
            assign(member, key, value);
            found = true;
          }
          known.append(parameter).append(is_budget ? ", tokens, " : ", ");
        });
      },
      method_);
  if (!found) {
    detail::refuse("--set", std::string(name()) + " has only " + known + "skip_layers", {{"key", std::string(key)}});
  }
  if (has_keep_ && has_tokens_) detail::refuse("--set", "takes keep or tokens, not both");
}

bool method_choice::skips(int layer) const noexcept {
  return std::find(skip_layers_.begin(), skip_layers_.end(), layer) != skip_layers_.end();
}

void method_choice::check_layers(int layers) const {
  for (int const layer : skip_layers_) {
    detail::expects(0 <= layer && layer < layers, "skip_layers", "names a layer that is not there", "layer", layer,
                    "layers", layers);
  }
}

}  // namespace tightkv::cli
