// SPDX-License-Identifier: Apache-2.0
#include "uses.hpp"

int main() { return in_one() == in_two() && in_one().norm == 5 ? 0 : 1; }
