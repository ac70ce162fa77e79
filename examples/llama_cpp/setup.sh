#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing (Debian, Ubuntu), then llama.cpp as the Python package llama-cpp-python brings it, unmodified,
# and builds tightkv_llama against it. With `server` it also builds llama-server from the package's sources. All of it
# stays in build/llama_cpp; a second run takes seconds. On two cores the package takes 6 minutes, the server 10.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=$PWD/build/llama_cpp
source=$folder/llama_cpp_python-0.3.36
mkdir -p "$folder"

quietly() { "$@" >"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }; }

examples/install.sh g++ cmake ninja-build python3 python3-venv nlohmann-json3-dev libcli11-dev
jobs=$(nproc)
export CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$jobs} CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}
# The same instructions everywhere, so that results can be compared.
options="-DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_USE_PREBUILT_UI=OFF
  -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
  -DGGML_NATIVE=OFF -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON"

[[ -d $folder/venv ]] || /usr/bin/python3 -m venv "$folder/venv"
if [[ ! -d $source ]]; then
  echo "Fetching llama.cpp (77 MB)" >&2
  quietly "$folder/venv/bin/pip" download --no-deps --no-binary llama-cpp-python llama-cpp-python==0.3.36 --dest "$folder"
  tar -xzf "$source.tar.gz" -C "$folder"
fi

if ! "$folder/venv/bin/pip" show --quiet llama-cpp-python 2>/dev/null; then
  echo "Building llama.cpp (minutes)" >&2
  CMAKE_ARGS="${options//$'\n'/ } -DLLAMA_BUILD_TOOLS=OFF -DLLAVA_BUILD=OFF" quietly "$folder/venv/bin/pip" install "$source"
fi
prefix=$(echo "$folder"/venv/lib/python3*/site-packages)

if [[ ${1:-} == server ]]; then
  echo "Building llama-server (minutes, the first time)" >&2
  # shellcheck disable=SC2086
  quietly cmake -S "$source/vendor/llama.cpp" -B "$folder/server" $options -DLLAMA_BUILD_SERVER=ON
  quietly cmake --build "$folder/server" --target llama-server
fi

echo "Building tightkv_llama" >&2
quietly cmake -S examples/llama_cpp -B "$folder/example" -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$prefix"
quietly cmake --build "$folder/example"
