// SPDX-License-Identifier: Apache-2.0
#include <tightkv/tightkv.hpp>

int main() { return TIGHTKV_VERSION_MAJOR == 0 ? 0 : 1; }
