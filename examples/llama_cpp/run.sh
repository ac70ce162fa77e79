#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The table of README.md: sets everything up (setup.sh), lets llama.cpp read long contexts, compresses its cache to a
# quarter by every method, goes on, and compares. Takes minutes more; results stay in build/llama_cpp/results.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=build/llama_cpp
results=$folder/results
lengths=("$@")
[[ $# -gt 0 ]] || lengths=(2048 4096 6800)

examples/llama_cpp/setup.sh
model=$(examples/fetch_model.sh)
text=$(examples/fetch_text.sh)
contexts=$(/usr/bin/python3 -B examples/llama_cpp/contexts.py "$model" "$text" "$results" "${lengths[@]}")

while read -r tokens name scored methods; do
  echo "Reading $tokens tokens of $name, compressing its cache, going on" >&2
  [[ $name == text ]] && decode=48 || decode=0
  # shellcheck disable=SC2086
  $folder/example/tightkv_llama compare --model "$model" --context "$results/$tokens/$name.context.txt" \
    --continuation "$results/$tokens/$name.continuation.txt" --score-last "$scored" --decode $decode $methods \
    --threads "$(nproc)" >"$results/$tokens/$name.json"
done <<<"$contexts"

/usr/bin/python3 -B examples/llama_cpp/table.py "$results" | tee "$results/table.md"
