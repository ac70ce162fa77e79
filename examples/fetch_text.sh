#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prints the path of a long English text, the Debian Policy Manual, fetching it first if need be. The package is
# unpacked rather than installed, because container images leave documentation out when they install.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(dirname "$here")/build/text
text=$folder/policy.txt

if [[ ! -s $text ]]; then
  mkdir -p "$folder"
  packed=/usr/share/doc/debian-policy/policy.txt.gz
  if [[ ! -s $packed ]]; then
    partial=$(mktemp -d "$folder/partial.XXXXXX")
    trap 'rm -rf "$partial"' EXIT
    cd "$partial"
    if ! apt-get download -qq debian-policy >/dev/null 2>&1; then # no package lists yet
      as_root=()
      [[ $EUID -eq 0 ]] || as_root=(sudo)
      "${as_root[@]}" apt-get update -qq >/dev/null
      apt-get download -qq debian-policy >&2
    fi
    dpkg -x debian-policy_*.deb .
    packed=$partial$packed
  fi
  gunzip --stdout "$packed" >"$text.partial"
  mv "$text.partial" "$text"
fi
echo "$text"
