#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The tables of head merging in README.md: builds what is needed, fetches a small model and a text, and measures. Long:
# each row is a calibration, a merge and an evaluation; --resume goes on where a run was stopped.
#   merging.sh [--resume] [--energy PICTURE.svg]      the picture needs Python's matplotlib
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$(dirname "$here")")

"$root"/examples/install.sh g++ cmake python3 libeigen3-dev libcli11-dev nlohmann-json3-dev libbenchmark-dev
model=$("$root"/examples/fetch_model.sh)
text=$("$root"/examples/fetch_text.sh)

cd "$root"
cmake --preset release >/dev/null
cmake --build --preset release --target tightkv_cli quality_compare_models quality_expand_heads quality_head_energy \
  quality_merge_encoder quality_model_speed
"${PYTHON:-python3}" -B "$here"/merging.py --bin build/release/bin --model "$model" --text "$text" --out build/quality/merging "$@"
