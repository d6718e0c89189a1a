#!/bin/sh
# Builds python_outline.wasm, or the file named. Needs componentize-py
# (pip install componentize-py==0.25.1).
set -eu
out=$(realpath -m "${1:-$(dirname "$0")/python_outline.wasm}")
cd "$(dirname "$0")"
wit=../../wit
set --
for package in io clocks random filesystem sockets cli http; do
    set -- "$@" -d "$wit/deps/$package.wit"
done
set -- "$@" -d "$wit/host" -d "$wit/tool" -d world.wit -w example:outline/outline
"${COMPONENTIZE_PY:-componentize-py}" "$@" componentize app -o "$out"
