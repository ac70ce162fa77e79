#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes the tables of README.md again, into build/quality: about an hour on two cores, or with --quick some minutes.
#   run.sh [--quick] [--long] [--resume] [TABLE]...     --resume goes on where an earlier run was stopped
# Installs what is missing (a compiler, CMake, four libraries) and fetches a small model and a long text.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$(dirname "$here")")

"$root"/examples/install.sh g++ cmake python3 libeigen3-dev libcli11-dev nlohmann-json3-dev libbenchmark-dev
model=$("$root"/examples/fetch_model.sh)
text=$("$root"/examples/fetch_text.sh)

cd "$root"
cmake --preset release >/dev/null
cmake --build --preset release --target tightkv_cli quality_attention_error quality_norm_correlation
/usr/bin/python3 -B "$here"/measure.py --bin build/release/bin --model "$model" --text "$text" --out build/quality "$@"
