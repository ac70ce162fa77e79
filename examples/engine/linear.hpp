// SPDX-License-Identifier: Apache-2.0
/// Rows through a linear map: the matrix products, where the time goes.
#pragma once

#include <tightkv/core/matrix.hpp>

#include "thread_pool.hpp"

namespace engine {

/// `out(r, o) = sum_i in(r, i) * weight(o, i)`. The weights are read once for all rows together.
void linear(thread_pool& pool, tightkv::matrix<float> const& weight, tightkv::matrix_view<float const> in,
            tightkv::matrix_view<float> out);

}  // namespace engine
