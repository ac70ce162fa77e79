// SPDX-License-Identifier: Apache-2.0
/// What products of matrices are made of: a small tile of sums that stay in registers.
#pragma once

#include <cstddef>

#include <tightkv/cpu/vectors.hpp>

#define TIGHTKV_KERNELS <tightkv/cpu/kernels/products.inl>
#include <tightkv/cpu/targets/each.inl>
