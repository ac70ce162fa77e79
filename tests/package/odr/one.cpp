// SPDX-License-Identifier: Apache-2.0
#include "uses.hpp"

used in_one() { return uses(); }
