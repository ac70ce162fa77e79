#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Holds everything against llama.cpp itself: what per-head compaction may rest on, the three routes, the small engine.
# Prints tables of differences, and fails where one is larger than it may be. Outside the default CI, for its build: on two
# cores 20 minutes the first time, then 3.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=build/llama_cpp

examples/llama_cpp/setup.sh
model=$(examples/fetch_model.sh)
text=$(examples/fetch_text.sh)
jobs=$(nproc)

plain=$folder/model.f32.gguf # where only rounding is left to differ
if [[ ! -s $plain ]]; then
  $folder/venv/bin/pip install --quiet $folder/llama_cpp_python-*/vendor/llama.cpp/gguf-py
  $folder/venv/bin/python examples/llama_cpp/to_f32.py "$model" "$plain.partial"
  mv "$plain.partial" "$plain"
fi
head --bytes=6000 "$text" >"$folder/text.txt"
$folder/example/tightkv_llama check --model "$plain" --text "$folder/text.txt" --threads "$jobs"

echo
[[ -e build/release/CMakeCache.txt ]] || export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}
{
  cmake --preset release
  cmake --build --preset release --target tightkv_cli --parallel "${CMAKE_BUILD_PARALLEL_LEVEL:-$jobs}"
} >"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
line=$(/usr/bin/python3 -B examples/llama_cpp/contexts.py "$model" "$text" "$folder/agree" 1480 | grep ' text ')
read -r _ _ scored methods <<<"$line"
asked=(--model "$model" --threads "$jobs" --context "$folder/agree/1480/text.context.txt"
  --continuation "$folder/agree/1480/text.continuation.txt" --score-last "$scored")
# shellcheck disable=SC2086
build/release/bin/tightkv run "${asked[@]}" $methods --indices --json >"$folder/agree/ours.json"
# shellcheck disable=SC2086
$folder/example/tightkv_llama compare "${asked[@]}" $methods --plans "$folder/agree/ours.json" >"$folder/agree/theirs.json"
/usr/bin/python3 -B examples/llama_cpp/agree.py "$folder/agree/ours.json" "$folder/agree/theirs.json"
