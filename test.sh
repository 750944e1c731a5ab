#!/usr/bin/env bash
# Hearth's tests: all of them, or the parts that are named.
#   ./test.sh [format] [lint] [deny] [unit]
set -uo pipefail
cd "$(dirname "$0")"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/hearth-target}"

part_format() { cargo fmt --all --check; }
part_lint() { cargo clippy --workspace --all-targets --locked -- -D warnings; }
part_deny() {
    if command -v cargo-deny >/dev/null; then
        cargo deny --offline check bans licenses sources
    else
        echo "cargo-deny is missing: cargo install --locked cargo-deny"
        return 1
    fi
}
part_unit() { cargo test --workspace --locked; }

passed=0 failed=0
for part in "${@:-format lint deny unit}"; do
    for name in $part; do
        declare -F "part_$name" >/dev/null || { echo "no part is called $name" >&2; exit 2; }
        echo "== $name"
        if "part_$name"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "== $name FAILED"; fi
    done
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
