// SPDX-License-Identifier: Apache-2.0
/// Three ways to carry out a plan in an unmodified llama.cpp.
#pragma once

#include <string>

#include "cache_in_place.hpp"
#include "compressor.hpp"

namespace tightkv::llama {

/// Every route leaves the sequence the same: n rows under the positions N-n .. N-1, keys turned by RoPE as they were,
/// the next token at N. They differ in what they need and in where the rows lie, which decides how far attention looks.
enum class route {
  buffer,      ///< A: save the state, write a smaller one, restore it. Any type; rows end in the first cells.
  high_cells,  ///< B: move rows in place into the last n cells, free the others. No saving; attention still spans all.
  low_cells  ///< C: into the first n cells, keys turned back so that llama.cpp's own K-shift turns them forward again.
};

/// "a", "b", "c". Throws `bad_argument` for others.
route route_named(std::string const& name);

/// Why a route cannot be taken with this model and these types; empty where it can.
std::string refusal(route r, session const& engine);

/// What a compression did.
struct compression {
  plan done;
  double milliseconds = 0;  ///< reading the cache, deciding, and carrying the plan out
};

/// Compresses the sequence by a method, through a route.
///
///     auto const done = compress(ex, route::buffer, method, engine, cache);
///
/// Throws `bad_argument` where the route is refused, with the cache as it was.
compression compress(executor_type const& ex, route r, compressor& method, session& engine, cache_in_place& cache);

/// The same with a plan already decided.
void carry_out(executor_type const& ex, route r, plan const& p, session& engine, cache_in_place& cache);

}  // namespace tightkv::llama
