#!/usr/bin/env bash
# Installs the gateways that ours is measured beside into .bench-peers, unless they are there already: 600 MB, a minute.
# Needs Python 3.11 with venv and pip's package index; no root.
set -euo pipefail

cd "$(dirname "$0")/../../.."
here=tests/bench/peers target=.bench-peers

stamp=$(cat "$here/install.sh" "$here/requirements.txt" | sha256sum | cut -d' ' -f1)
if [[ $(cat "$target/stamp" 2>/dev/null) == "$stamp" ]]; then
  exit 0
fi
echo "peers: installing into $target" >&2
"${PYTHON:-python3.11}" -m venv --clear "$target"
"$target/bin/python" -m pip install --quiet --disable-pip-version-check uv
"$target/bin/uv" pip install --quiet --python "$target/bin/python" --requirement "$here/requirements.txt"
echo "$stamp" > "$target/stamp"
