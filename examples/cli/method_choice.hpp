// SPDX-License-Identifier: Apache-2.0
/// A method chosen by name, its parameters set by words: `--method lag_kv --set lag=64`.
#pragma once

#include <limits>
#include <string>
#include <string_view>
#include <tuple>
#include <variant>
#include <vector>

#include <tightkv/methods/all.hpp>

namespace tightkv::cli {

template <class Tuple>
struct variant_of;
template <class... M>
struct variant_of<std::tuple<M...>> {
  using type = std::variant<M...>;
};

/// Any of the library's methods.
using any_method = variant_of<all_methods>::type;

/// Calls `f(method)` with a default one of each type.
template <class F>
void for_each_method(F&& f) {
  std::apply([&](auto const&... m) { (f(m), ...); }, all_methods{});
}

/// A method and its parameters as a user gave them.
class method_choice {
 public:
  /// Throws `bad_argument` for a name that no method has, and lists those there are.
  explicit method_choice(std::string_view name);

  /// `key=value`. Throws `bad_argument` for a key the method does not have or a value that does not fit it.
  void set(std::string_view assignment);

  std::string_view name() const;
  /// How many of the last tokens' queries the method looks at: `all_queries` for those that want each token's.
  int query_window() const;
  static constexpr int all_queries = std::numeric_limits<int>::max();
  any_method const& method() const noexcept { return method_; }
  /// Layers that are left whole.
  bool skips(int layer) const noexcept;
  bool skips_any() const noexcept { return !skip_layers_.empty(); }
  /// Throws `bad_argument` when a layer to skip is not among the first `layers`.
  void check_layers(int layers) const;

 private:
  any_method method_;
  std::vector<int> skip_layers_;
  bool has_keep_ = false;
  bool has_tokens_ = false;
};

}  // namespace tightkv::cli
