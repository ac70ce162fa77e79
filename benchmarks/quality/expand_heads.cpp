// SPDX-License-Identifier: Apache-2.0
// quality_expand_heads IN.gguf OUT.gguf KV_HEADS [NOISE [STRIDE]]: the same function with more KV heads, each an
// orthogonal turn of one that was there. What merging should find again, and a stand-in for a model with multi-head
// attention. With NOISE (of each weight's length) the copies differ, and it is another model; with a STRIDE the heads
// are dealt out, so that copies of one head are no neighbours.
#include <cstdlib>
#include <iostream>

#include <engine/expanded_file.hpp>

#include "mapped_file.hpp"

int main(int argc, char** argv) {
  try {
    tightkv::detail::expects(argc >= 4 && argc <= 6, "quality_expand_heads",
                             "usage: IN.gguf OUT.gguf KV_HEADS [NOISE [STRIDE]]");
    engine::thread_pool pool{1};
    engine::mapped_file const mapped{argv[1]};
    tightkv::gguf::file const file{mapped.bytes()};
    engine::model const model{file, pool};
    test::expansion const how{.kv_heads = std::atoi(argv[3]),
                              .noise = argc > 4 ? std::atof(argv[4]) : 0,
                              .stride = argc > 5 ? std::atoi(argv[5]) : 1};
    auto const& s = model.shape();
    bool const possible = how.kv_heads > 0 && how.kv_heads % s.kv_heads == 0 && s.query_heads % how.kv_heads == 0;
    tightkv::detail::expects(possible, "quality_expand_heads",
                             "must be a multiple of the KV heads and divide the query heads", "heads", how.kv_heads);
    tightkv::detail::expects(how.noise >= 0, "quality_expand_heads", "noise must not be negative", "noise", how.noise);
    tightkv::detail::expects(how.stride > 0 && how.kv_heads % how.stride == 0, "quality_expand_heads",
                             "the stride must divide the heads", "stride", how.stride);
    test::write_expanded(argv[2], file, model, how);
    return 0;
  } catch (std::exception const& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
