#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# install.sh PACKAGE...: installs those of these Debian packages that are missing.
set -euo pipefail

missing=()
for package in "$@"; do
  [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -eq 0 ]] && exit

if ! command -v apt-get >/dev/null; then
  echo "No apt-get here. If the build fails, install what Debian calls: ${missing[*]}" >&2
  exit
fi
as_root=()
[[ $EUID -eq 0 ]] || as_root=(sudo)
echo "Installing ${missing[*]}" >&2
"${as_root[@]}" apt-get update -qq >/dev/null
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "${missing[@]}" >/dev/null
