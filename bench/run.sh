#!/usr/bin/env bash
# Hearth and Synapse side by side on this computer: all scenarios, or those that are named.
#   bench/run.sh [--quick] [--dry] [--rounds N] [--only hearth|synapse] [scenario …]
#   bench/run.sh scale [--nodes 1,2,4,10] [--each 10000] [--dry]      several nodes of one cluster: docs/scaling.md
#   bench/run.sh federation [--quick] [--dry] [--rounds N] [--only hearth|synapse] [join] [inbound] [outbound]
# Writes bench/results.json, bench/results.svg and the tables of docs/performance.md, unless --quick or --dry is given.
# As root, with the packages postgresql and python3-venv: PostgreSQL runs as the user postgres, in a folder of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/hearth-target}"
synapse="$HOME/.cache/hearth-bench/synapse"
build() {
    cargo build --release --locked --package hearth-server --package hearth-bench --bins
    ulimit -n 20000 || { echo "20,000 open files a process are needed" >&2; exit 1; }
}
programs="$CARGO_TARGET_DIR/release"
if [ "${1:-}" = scale ]; then
    [ "$(id -u)" = 0 ] || { echo "PostgreSQL is started as the user postgres: run this as root" >&2; exit 1; }
    command -v redis-server >/dev/null || { echo "the package redis-server is missing" >&2; exit 1; }
    build
    exec "$programs/hearth-bench" "$@" --programs "$programs"
fi
only_hearth=no
[[ " $* " == *" --only hearth "* || " $* " == *" --only=hearth "* ]] && only_hearth=yes

if [ "$only_hearth" = no ]; then
    [ "$(id -u)" = 0 ] || { echo "PostgreSQL is started as the user postgres: run this as root, or with --only hearth" >&2; exit 1; }
    compgen -G "/usr/lib/postgresql/*/bin/postgres" >/dev/null || { echo "the package postgresql is missing" >&2; exit 1; }
    if ! [ -x "$synapse/bin/synapse_homeserver" ]; then
        echo "installing Synapse in $synapse" >&2
        python3 -m venv "$synapse"
        "$synapse/bin/pip" install --quiet "matrix-synapse[postgres]"
    fi
fi
build
exec "$programs/hearth-bench" "$@" --programs "$programs" --python "$synapse/bin/python"
