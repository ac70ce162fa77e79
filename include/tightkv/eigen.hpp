// SPDX-License-Identifier: Apache-2.0
/// The head mergers, which need Eigen: from weights and calibration to new weights with fewer KV heads.
#pragma once

// IWYU pragma: begin_exports
#include <tightkv/cpu/eigen_attention.hpp>
#include <tightkv/mergers/alternating_heads.hpp>
#include <tightkv/mergers/calibration.hpp>
#include <tightkv/mergers/commuting_heads.hpp>
#include <tightkv/mergers/eigen_cpu.hpp>
#include <tightkv/mergers/fuse_keys.hpp>
#include <tightkv/mergers/fuse_values.hpp>
#include <tightkv/mergers/kq_svd.hpp>
#include <tightkv/mergers/lost_energy.hpp>
#include <tightkv/mergers/mean_heads.hpp>
#include <tightkv/mergers/output_refit.hpp>
#include <tightkv/mergers/run_time_keys.hpp>
#include <tightkv/mergers/svd_heads.hpp>
#include <tightkv/ops/project_heads.hpp>
// IWYU pragma: end_exports
