// SPDX-License-Identifier: Apache-2.0
/// What the library answers in translation units that are compiled for different machines.
#pragma once

#include <vector>

#include <tightkv/core/instruction_set.hpp>

struct results {
  tightkv::instruction_set best{};
  std::vector<tightkv::instruction_set> run;  // those that the translation unit has kernels for, on this machine
  std::vector<float> exact;                   // scores and rows, the same bits everywhere
  std::vector<float> attention;               // the same up to 4e-6
  std::vector<int> kept;
};

results results_of_any();
results results_of_v3();
results results_of_v4();
