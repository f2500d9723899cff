#!/usr/bin/env bash
# Half an hour on a GPU machine: installs what a bare machine lacks, then measures (benchmarks/gpu_session.py).
#
#     WHEELS=wheels PYTHON=python3 benchmarks/gpu_session.sh --output results [--data DATA] [--before CHECKOUT]
#
# The machine needs jax with CUDA, and by default PYTHON with the other dependencies of the project. For a machine
# without a network, WHEELS is a folder of wheels: all that the machine lacks, with what those packages need in turn.
#
#     pip download --no-deps --only-binary=:all: --python-version 3.12 -d wheels PACKAGE ...
set -euo pipefail
cd "$(dirname "$0")/.."

python="${PYTHON:-python3}"
if [[ -n "${WHEELS:-}" ]]; then
  site="$(mktemp -d)"
  "$python" -m pip install -q --no-index --no-deps --no-compile --target "$site" "$WHEELS"/*.whl
  export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
exec "$python" benchmarks/gpu_session.py "$@"
