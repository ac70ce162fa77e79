// SPDX-License-Identifier: Apache-2.0
/// Everything of tightkv.hpp, and the kernels that run it on NVIDIA GPUs. For nvcc.
#pragma once

// IWYU pragma: begin_exports
#include <tightkv/cuda/attention_mass.cuh>
#include <tightkv/cuda/compact.cuh>
#include <tightkv/cuda/executor.cuh>
#include <tightkv/cuda/gather.cuh>
#include <tightkv/cuda/gram_update.cuh>
#include <tightkv/cuda/keep_outside.cuh>
#include <tightkv/cuda/lag_compact.cuh>
#include <tightkv/cuda/lag_scores.cuh>
#include <tightkv/cuda/matrix.cuh>
#include <tightkv/cuda/mean_cosine.cuh>
#include <tightkv/cuda/plan.cuh>
#include <tightkv/cuda/pool_tokens.cuh>
#include <tightkv/cuda/project_heads.cuh>
#include <tightkv/cuda/rank_tokens.cuh>
#include <tightkv/cuda/row_norms.cuh>
#include <tightkv/cuda/score_maps.cuh>
#include <tightkv/cuda/select_partitions.cuh>
#include <tightkv/cuda/select_top_k.cuh>
#include <tightkv/cuda/window_attention.cuh>
#include <tightkv/tightkv.hpp>
// IWYU pragma: end_exports
