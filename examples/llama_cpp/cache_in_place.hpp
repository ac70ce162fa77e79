// SPDX-License-Identifier: Apache-2.0
/// llama.cpp's own cache tensors, read and written where they are.
#pragma once

#include <cstdint>
#include <vector>

#include "rows.hpp"
#include "session.hpp"

namespace tightkv::llama {

/// The cache of a session by tokens instead of cells: token t is the t-th by position.
///
///     cache_in_place cache(engine);
///     auto layer = cache.read(0);        // rows of all tokens
///     cache.write(0, layer, 10);         // the first of them become tokens 10, 11, ..
///
/// Works with any backend: rows are copied to host memory and back. Throws `bad_argument` for caches that are more than
/// one sequence of one kind: a model with a sliding window, or with a recurrent part.
class cache_in_place {
 public:
  explicit cache_in_place(session& engine);

  int layers() const { return static_cast<int>(engine_->tap().cache().size()); }
  int tokens();  ///< in the cache now
  bool values_are_transposed() const;

  layer_rows read(int layer);
  void write(int layer, layer_rows const& from, int first);

  /// Only these tokens are left: for after llama.cpp was told to remove the others.
  void keep(int first, int count);
  /// The session was cleared and a state restored: its tokens lie in the first cells.
  void restored(int tokens);

 private:
  void sync();
  rows gather(ggml_tensor const* tensor, bool transposed) const;
  void scatter(ggml_tensor* tensor, bool transposed, rows const& from, int first) const;

  session* engine_;
  std::vector<std::int64_t> cells_;  // of each token
};

}  // namespace tightkv::llama
