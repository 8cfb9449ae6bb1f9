#!/usr/bin/env bash
# Makes one of the two virtual environments, unless it is there already:
#   deploy/setup/environment.sh product|engine [DIRECTORY]
# `product` runs the gateway, the trainer, the command and the tests; `engine` runs SGLang, whose pins differ.
# Needs Python 3.11 with venv, a C compiler and pip's package index; no root. PYTHON names another interpreter.
set -euo pipefail

cd "$(dirname "$0")/../.."
name=${1:?product or engine}
pins=deploy/requirements
case $name in
  product) directory=${2:-.venv} files=("$pins/gateway.txt" "$pins/product.txt" "$pins/dev.txt" "$pins/dev-nodeps.txt" pyproject.toml clients/python/pyproject.toml) ;;
  engine) directory=${2:-.venv-engine} files=("$pins/engine-cpu.txt" "$pins/engine-cpu-nodeps.txt") ;;
  *) echo "environment.sh: $name is neither product nor engine" >&2; exit 2 ;;
esac

say() { echo "setup: $*" >&2; }

find_python() {
  local candidate
  for candidate in "${PYTHON:-python3.11}" python3.11 python3; do
    if "$candidate" -c 'import sys, venv; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  say "Python 3.11 with its venv module is needed; install it, or name it with PYTHON=/path/to/python3.11"
  exit 1
}

stamp_of() { cat deploy/setup/environment.sh "${files[@]}" | sha256sum | cut -d' ' -f1; }

make_environment() {
  if ! "$directory/bin/python" -c 'import pip' 2>/dev/null; then
    say "creating $directory with $python"
    "$python" -m venv --clear "$directory"
  fi
}

# Python compiles a module when it is first imported; most of what is installed never is.
install() { "$directory/bin/python" -m pip install --no-compile --quiet --disable-pip-version-check --progress-bar off "$@"; }

# torch is installed first and alone: then no other package installs another build of it.
install_torch() {
  local torch
  torch=$(grep -h '^torch==' "${files[@]}")
  say "installing $torch into $directory"
  install "$torch"
}

install_product() {
  say "installing the pinned packages into $directory, which takes a minute or more"
  install --requirement "$pins/dev.txt"
  # Tests read the chat templates in it; its dependencies would be a second trainer.
  install --no-deps --requirement "$pins/dev-nodeps.txt"
  say "installing turngate itself and its client, in place"
  install --no-deps --no-build-isolation --editable . --editable clients/python
}

install_engine() {
  say "installing SGLang's pinned packages into $directory, which takes a minute or more"
  install --requirement "$pins/engine-cpu.txt"
  # SGLang's own requirements are CUDA builds of several gigabytes that a CPU never loads.
  install --no-deps --requirement "$pins/engine-cpu-nodeps.txt"
}

stamp=$(stamp_of)
if [[ -x $directory/bin/python && $(cat "$directory/.stamp" 2>/dev/null) == "$stamp" ]]; then
  exit 0
fi
python=$(find_python)
make_environment
install_torch
"install_$name"
echo "$stamp" > "$directory/.stamp"
say "$directory is ready"
