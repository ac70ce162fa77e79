#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The commands of README.md against a real llama-server: a long prompt, its slot saved, shrunk, restored, and asked.
# slot.sh TIGHTKV MODEL CONTEXT.txt CONTINUATION.txt [METHOD]; needs `setup.sh server`, curl and jq.
set -euo pipefail
tightkv=$1 model=$2 context=$3 continuation=$4 method=${5:-key_diff}
server=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/build/llama_cpp/server/bin/llama-server
key=$(grep --only-matching '[0-9]*$' "$continuation")
question=$(head --bytes=-${#key} "$continuation"; echo .) # a command substitution eats the end of a text
question=${question%.}
slots=$(mktemp -d)
url=http://127.0.0.1:18080

"$server" -m "$model" -c 8192 -np 1 -t "$(nproc)" --slot-save-path "$slots" --port 18080 >"$slots/log" 2>&1 &
trap 'kill %1; rm -rf "$slots"' EXIT
until curl --silent --fail $url/health >/dev/null; do sleep 0.2; done

ask() { # prompt file, tokens
  jq --null-input --rawfile prompt "$1" --argjson n "$2" '{prompt: $prompt, n_predict: $n, temperature: 0}' |
    curl --silent $url/completion --data @-
}
slot() { curl --silent "$url/slots/0?action=$1" --data "{\"filename\": \"$2\"}" | jq --compact-output .; }
asked() {
  answer=$(ask "$slots/question" ${#key})
  jq --compact-output '.timings | {cache_n, prompt_n, predicted_n, predicted_per_second}' <<<"$answer"
  right=0
  said=$(jq --raw-output .content <<<"$answer")
  for ((i = 0; i < ${#key}; ++i)); do [[ ${said:i:1} == "${key:i:1}" ]] && right=$((right + 1)); done
  echo "says ${said@Q}, key $key: $right of ${#key} digits in their place"
}

cp "$context" "$slots/prompt"
{ cat "$context"; printf %s "$question"; } >"$slots/question"
ask "$slots/prompt" 0 | jq --compact-output '.timings | {prompt_n, prompt_ms}'
slot save long.bin
asked
"$tightkv" shrink "$slots/long.bin" "$slots/short.bin" --model "$model" --method "$method" --set keep=0.25
slot erase long.bin
slot restore short.bin
asked
slot erase short.bin
slot restore long.bin
asked
