#!/usr/bin/env bash
# The hot path alone, step by step: all steps, or those whose names contain a word.
#   bench/micro.sh [word]
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/hearth-target}"
exec cargo bench --locked --package hearth-bench --bench micro -- "$@"
