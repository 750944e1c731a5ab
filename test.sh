#!/usr/bin/env bash
# Hearth's tests: all of them, or the parts that are named.
#   ./test.sh [format] [tidy] [lint] [deny] [unit] [fuzz] [flows] [peers] [convergence] [cluster] [migrate] [faults]
#   ./test.sh faults COUNT | faults --seed S | faults --from S COUNT      as many seeds of the fault test, or those
#   ./test.sh migrate EVENTS                                              a store of so many that moves to PostgreSQL and back
#   ./test.sh convergence COUNT | convergence --seed S                    as many seeds of the simulation of servers, or one
#   ./test.sh fuzz [--optimised] COUNT | fuzz --seed S [--target NAME]      as many made-up inputs, or one
set -uo pipefail
cd "$(dirname "$0")"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/hearth-target}"

part_format() { cargo fmt --all --check; }
part_lint() { cargo clippy --workspace --all-targets --locked -- -D warnings; }
part_deny() {
    if command -v cargo-deny >/dev/null; then
        cargo fetch --locked --quiet && cargo deny --offline check bans licenses sources
    else
        echo "cargo-deny is missing: cargo install --locked cargo-deny"
        return 1
    fi
}
part_tidy() { cargo test --locked --package hearth-testkit --test tidy; }
part_unit() { cargo test --workspace --locked; }

# Real clients hold a conversation over a server that is started for them and ended afterwards.
part_flows() {
    build_flows || return 1
    local data port log server result=1
    data=$(mktemp -d)
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    log="$data/log"
    HEARTH__SERVER__SIGNING_KEY_FILE="$data/signing.key" HEARTH__SERVER__CONTROL_SOCKET="$data/control.sock" \
        HEARTH__STORE__PATH="$data/store" HEARTH__LISTEN__ADDRESSES="[\"127.0.0.1:$port\"]" \
        "$CARGO_TARGET_DIR/debug/hearth" serve --try-it >"$log" 2>&1 &
    server=$!
    if curl --silent --fail --retry 60 --retry-delay 1 --retry-connrefused --output /dev/null "http://127.0.0.1:$port/health"; then
        converse "http://127.0.0.1:$port" && result=0
    else
        echo "the server did not start"
    fi
    [ "$result" = 0 ] || { echo "the end of its log:"; tail -n 40 "$log"; }
    kill "$server" && wait "$server"
    rm -rf "$data"
    return "$result"
}

# The same on three nodes behind HAProxy, over PostgreSQL and Redis; and the whole-server tests, each on a cluster of its own.
part_cluster() {
    build_flows || return 1
    src/testkit/cluster.sh "$CARGO_TARGET_DIR/debug/hearth" ./test.sh on_cluster
}
part_on_cluster() {
    : "${HEARTH_CLUSTER_URL:?src/testkit/cluster.sh starts this part}"
    cargo test --locked --package hearth-testkit --test life --test conformance --test federated --test upgrade && converse "$HEARTH_CLUSTER_URL"
}

build_flows() { cargo build --locked --package hearth-server --bin hearth --package hearth-testkit --bin record; }

# Lets the clients speak with the server at $1. Where the specification is at hand, a judge stands before the server and looks
# at every answer.
converse() {
    local url=$1 judge lines result=1
    exec {lines}< <("$CARGO_TARGET_DIR/debug/record" "${1#http://}" 2>&1)
    judge=$!
    read -r url <&"$lines"
    case $url in
        http://*) ;;
        *"no specification"*) echo "the answers are not judged: $url" && judge='' && url=$1 ;;
        *) echo "the judge did not start: $url" && cat <&"$lines" ;;
    esac
    src/testkit/flows/run.sh "$url" && result=0
    if [ -n "$judge" ]; then
        kill "$judge"
        cat <&"$lines"
        wait "$judge" || result=1
    fi
    exec {lines}<&-
    return "$result"
}

# A server of ours and a real Synapse share rooms over TLS; ours is one node, and then a cluster.
part_peers_alone() { peers alone; }
part_peers_cluster() { peers cluster; }
peers() { build_flows && src/testkit/flows/peers/run.sh "$CARGO_TARGET_DIR/debug/hearth" "$1"; }

# Servers in one process, with partitions, delay, reordering and forged events: see src/testkit/convergence/main.rs.
part_convergence() {
    cargo build --locked --package hearth-testkit --bin convergence || return 1
    "$CARGO_TARGET_DIR/debug/convergence" "${@:-20}"
}

# A store that moves from RocksDB to PostgreSQL and back, over which servers answer the same: see src/testkit/migrate/main.rs.
part_migrate() {
    has_postgres || return 77
    cargo build --locked --package hearth-server --bin hearth --package hearth-testkit --bin migrate || return 1
    "$CARGO_TARGET_DIR/debug/migrate" "$@"
}

has_postgres() {
    command -v initdb >/dev/null || compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null || {
        echo "PostgreSQL is missing (Debian: apt-get install postgresql)"
        return 1
    }
}

# Made-up input for all that other servers can hand to this one: see src/testkit/fuzz/main.rs. `--optimised` is for long runs.
part_fuzz() {
    local profile=dev folder=debug
    [ "${1:-}" = --optimised ] && profile=fuzz folder=fuzz && shift
    cargo build --locked --profile "$profile" --package hearth-testkit --bin fuzz || return 1
    "$CARGO_TARGET_DIR/$folder/fuzz" "${@:-10000}"
}

# Three nodes over PostgreSQL and Redis, and everything that can happen to them: see src/testkit/faults/main.rs.
part_faults() {
    has_postgres || return 77
    command -v redis-server >/dev/null || {
        echo "Redis is missing (Debian: apt-get install redis-server)"
        return 77
    }
    cargo build --locked --package hearth-server --bin hearth --package hearth-testkit --bin faults --bin tally || return 1
    "$CARGO_TARGET_DIR/debug/faults" "${@:-5}"
}

case "${1:-}" in
    faults | convergence | fuzz | migrate)
        name=$1
        shift
        "part_$name" "$@"
        exit
        ;;
esac

passed=0 failed=0 skipped=0
run() {
    declare -F "part_$1" >/dev/null || { echo "no part is called $1" >&2; exit 2; }
    echo "== $1"
    "part_$1"
    case $? in
        0) passed=$((passed + 1)) ;;
        # Something that it needs is not installed; it said what.
        77) skipped=$((skipped + 1)); echo "== $1 SKIPPED" ;;
        *) failed=$((failed + 1)); echo "== $1 FAILED" ;;
    esac
}
for part in ${*:-format tidy lint deny unit fuzz flows peers convergence cluster migrate faults}; do
    case $part in
        peers) run peers_alone; run peers_cluster ;;
        *) run "$part" ;;
    esac
done
[ "$*" = on_cluster ] || echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
