#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing (Debian, Ubuntu), fetches a small model and a text, builds the tightkv command, and
# compresses the KV cache of real contexts with every method there is, to half and to a quarter. Prints what that costs
# and what it does to the model; leaves the same as a table and as two pictures in build/demo.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
demo=build/demo
mkdir -p "$demo"

python() { /usr/bin/python3 -B "$@"; } # the one that Debian's packages belong to
tightkv() { build/release/bin/tightkv "$@"; }
quietly() { "$@" >"$demo/log" 2>&1 || { cat "$demo/log" >&2; exit 1; }; }

examples/install.sh g++ cmake ninja-build libeigen3-dev nlohmann-json3-dev libcli11-dev libbenchmark-dev \
  python3 python3-pip python3-matplotlib
model=$(examples/fetch_model.sh)
text=$(examples/fetch_text.sh)

echo "Building the tightkv command (minutes, the first time)"
jobs=$(nproc)
export CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$jobs}
# A folder that was configured with another generator keeps it.
[[ -e build/release/CMakeCache.txt ]] || export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}
quietly cmake --preset release
quietly cmake --build --preset release --target tightkv_cli

tightkv methods --json >"$demo/methods.json"
contexts=$(python examples/demo/contexts.py "$model" "$text" "$demo")
arguments=$(python examples/demo/budgets.py "$demo/methods.json" "$demo/contexts.json")
mapfile -t methods <<<"$arguments"

while read -r name scored; do
  echo "Reading $name, compressing its cache with every method, going on"
  tightkv run --model "$model" --context "$demo/$name.context.txt" --continuation "$demo/$name.continuation.txt" \
    --score-last "$scored" "${methods[@]}" --indices --threads "$jobs" --json >"$demo/$name.json"
done <<<"$contexts"

echo "Writing on with a quarter of the cache"
tightkv run --model "$model" --context "$demo/text.context.txt" --generate 32 --method lag_kv --set keep=0.14 \
  --threads "$jobs" --json >"$demo/generated.json"

echo
python examples/demo/table.py "$demo"
python examples/demo/pictures.py "$demo"
echo
echo "The table is in $PWD/$demo/table.md, the pictures are quality.png and kept.png beside it."
