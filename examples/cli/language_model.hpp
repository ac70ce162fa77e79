// SPDX-License-Identifier: Apache-2.0
/// The model and the tokeniser of one GGUF file.
#pragma once

#include <string>
#include <vector>

#include <tightkv/interop/gguf.hpp>

#include "mapped_file.hpp"
#include "model.hpp"
#include "thread_pool.hpp"
#include "tokenizer.hpp"

namespace tightkv::cli {

class language_model {
  engine::mapped_file bytes_;
  gguf::file file_;

 public:
  engine::thread_pool& pool;
  engine::model weights;
  engine::tokenizer words;

  language_model(std::string const& path, engine::thread_pool& threads)
      : bytes_(path), file_(bytes_.bytes()), pool(threads), weights(file_, threads), words(file_) {}

  /// The tokens of a text file, the model's beginning token first where it wants one.
  std::vector<engine::token> read_context(std::string const& path) const;
  /// The same without a beginning: what goes on where another text ended.
  std::vector<engine::token> read_continuation(std::string const& path) const;
  /// The same of a text of any length, of which windows are looked at.
  std::vector<engine::token> read_calibration(std::string const& path) const;
};

}  // namespace tightkv::cli
