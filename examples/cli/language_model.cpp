// SPDX-License-Identifier: Apache-2.0
#include "language_model.hpp"

#include <tightkv/interop/file.hpp>

namespace tightkv::cli {

std::vector<engine::token> language_model::read_calibration(std::string const& path) const {
  auto const file = read_file(path);
  auto const text = file.bytes();
  auto tokens = words.encode({reinterpret_cast<char const*>(text.data()), text.size()});
  detail::expects(!tokens.empty(), "text", "has no tokens", "path", path);
  return tokens;
}

std::vector<engine::token> language_model::read_continuation(std::string const& path) const {
  auto tokens = read_calibration(path);
  auto const limit = static_cast<std::size_t>(weights.shape().context);
  detail::expects(tokens.size() <= limit, "run", "a text is longer than the model's context", "tokens", tokens.size(),
                  "context", limit);
  return tokens;
}

std::vector<engine::token> language_model::read_context(std::string const& path) const {
  auto tokens = read_continuation(path);
  if (auto const beginning = words.beginning()) tokens.insert(tokens.begin(), *beginning);
  return tokens;
}

}  // namespace tightkv::cli
