// SPDX-License-Identifier: Apache-2.0
#include "here.hpp"

results results_of_v4() { return results_here(); }
