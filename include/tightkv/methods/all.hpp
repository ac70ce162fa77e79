// SPDX-License-Identifier: Apache-2.0
/// Every method, as a list of types: what a command or a test goes through.
#pragma once

#include <tuple>

#include <tightkv/methods/h2o.hpp>
#include <tightkv/methods/key_diff.hpp>
#include <tightkv/methods/key_diff_h2o.hpp>
#include <tightkv/methods/l2_norm.hpp>
#include <tightkv/methods/lag_kv.hpp>
#include <tightkv/methods/lag_kv_global.hpp>
#include <tightkv/methods/random_eviction.hpp>
#include <tightkv/methods/snap_kv.hpp>
#include <tightkv/methods/streaming_llm.hpp>
#include <tightkv/methods/tova.hpp>

namespace tightkv {

using all_methods = std::tuple<lag_kv, lag_kv_global, l2_norm, h2o, streaming_llm, snap_kv, tova, key_diff,
                               random_eviction, key_diff_h2o>;

}  // namespace tightkv
