#!/usr/bin/env bash
# Where Hearth spends its time in a scenario, as a flame graph: bench/profile.sh send_16 [more scenarios]
# Needs `perf` (the package linux-perf); what draws the graph is installed beside Synapse. The text at the end is read first.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || { echo "bench/profile.sh scenario …" >&2; exit 2; }
folder="${HEARTH_BENCH_PROFILES:-bench/profiles}"
tools="$HOME/.cache/hearth-bench/tools"
command -v perf >/dev/null || { echo "the package linux-perf is missing" >&2; exit 1; }
[ -x "$tools/bin/inferno-flamegraph" ] || CARGO_TARGET_DIR="$tools/build" cargo install --quiet --locked inferno --root "$tools"
mkdir -p "$folder"
for scenario in "$@"; do
    bench/run.sh --only hearth --dry --rounds 3 --profile "$folder/$scenario.perf" "$scenario"
    perf script --no-inline --input "$folder/$scenario.perf" 2>/dev/null | "$tools/bin/inferno-collapse-perf" >"$folder/$scenario.folded"
    "$tools/bin/inferno-flamegraph" --title "Hearth: $scenario" <"$folder/$scenario.folded" >"$folder/$scenario.svg"
    perf report --no-inline --no-children --percent-limit 0.8 --call-graph none --sort symbol \
        --input "$folder/$scenario.perf" --stdio 2>/dev/null | grep -v '^#' | head -n 60
    echo "$folder/$scenario.svg"
done
