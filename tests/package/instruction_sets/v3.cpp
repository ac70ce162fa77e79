// SPDX-License-Identifier: Apache-2.0
#include "here.hpp"

results results_of_v3() { return results_here(); }
