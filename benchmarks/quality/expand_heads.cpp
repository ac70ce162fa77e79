// SPDX-License-Identifier: Apache-2.0
// quality_expand_heads IN.gguf OUT.gguf KV_HEADS: the same function with more KV heads, each an orthogonal turn of one
// that was there. What merging should find again, and a stand-in for a model with multi-head attention.
#include <cstdlib>
#include <iostream>

#include <engine/expanded_file.hpp>

#include "mapped_file.hpp"

int main(int argc, char** argv) {
  try {
    tightkv::detail::expects(argc == 4, "quality_expand_heads", "usage: IN.gguf OUT.gguf KV_HEADS");
    engine::thread_pool pool{1};
    engine::mapped_file const mapped{argv[1]};
    tightkv::gguf::file const file{mapped.bytes()};
    engine::model const model{file, pool};
    int const heads = std::atoi(argv[3]);
    auto const& s = model.shape();
    tightkv::detail::expects(heads > 0 && heads % s.kv_heads == 0 && s.query_heads % heads == 0, "quality_expand_heads",
                             "must be a multiple of the KV heads and divide the query heads", "heads", heads);
    test::write_expanded(argv[2], file, model, heads);
    return 0;
  } catch (std::exception const& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
