#!/usr/bin/env bash
# Installs the agent runtimes of `make test-runtimes` into .runtimes, unless they are there already: 1.8 GB, 1 to 3 minutes.
# Needs Python 3.11 with venv, Node 20 with npm, and the package indexes of pip and npm; no root.
set -euo pipefail

cd "$(dirname "$0")/../.."
here=tests/runtimes target=.runtimes

say() { echo "runtimes: $*" >&2; }

install_python() {
  say "installing Python runtimes into $target/python"
  "${PYTHON:-python3.11}" -m venv --clear "$target/python"
  "$target/python/bin/python" -m pip install --quiet --disable-pip-version-check uv
  "$target/python/bin/uv" pip install --quiet --python "$target/python/bin/python" --requirement "$here/requirements.txt"
}

install_node() {
  say "installing JavaScript runtimes into $target/node"
  mkdir -p "$target/node"
  cp "$here/package.json" "$target/node/"
  npm install --prefix "$target/node" --no-audit --no-fund --loglevel=error >&2
  # Node looks for packages beside a script, so it finds this one there.
  ln -sf ../../"$here"/agents/ai_sdk.mjs "$target/node/ai_sdk.mjs"
}

stamp=$(cat "$here/install.sh" "$here/requirements.txt" "$here/package.json" | sha256sum | cut -d' ' -f1)
if [[ $(cat "$target/stamp" 2>/dev/null) == "$stamp" ]]; then
  exit 0
fi
install_python
install_node
echo "$stamp" > "$target/stamp"
say "they are ready"
