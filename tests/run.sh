#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing (Debian, Ubuntu), fetches a small model, builds with sanitizers and runs every test.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

examples/install.sh g++ cmake ninja-build libgtest-dev libgmock-dev libeigen3-dev nlohmann-json3-dev libcli11-dev python3
model=$(examples/fetch_model.sh)
text=$(examples/fetch_text.sh)

jobs=$(nproc)
export CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$jobs}
# A folder that was configured with another generator keeps it.
[[ -e build/dev/CMakeCache.txt ]] || export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}
cmake --preset dev -D TIGHTKV_TEST_MODEL="$model" -D TIGHTKV_TEST_TEXT="$text"
cmake --build --preset dev
ctest --preset dev --parallel "$CMAKE_BUILD_PARALLEL_LEVEL"
