// SPDX-License-Identifier: Apache-2.0
/// CUDA kernels on the CPU, for tests: include this instead of <cuda_runtime.h>. See README.md beside it.
#pragma once

#include <cuda_on_cpu/access.hpp>
#include <cuda_on_cpu/intrinsics.hpp>
#include <cuda_on_cpu/launch.hpp>
#include <cuda_on_cpu/runtime.hpp>
#include <cuda_on_cpu/types.hpp>
