#!/usr/bin/env bash
# What a message costs in CPU on RocksDB, on PostgreSQL with one node, and with three: all processes counted, the database, Redis
# and HAProxy too. Times on the clock depend on what else the machine does; CPU seconds hardly do.
#   bench/engines.sh [MESSAGES]
# Needs what src/testkit/cluster.sh needs. The table of docs/scaling.md comes from here.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/hearth-target}"
hearth=${HEARTH_BINARY:-$CARGO_TARGET_DIR/release/hearth}
[ -n "${HEARTH_BINARY:-}" ] || cargo build --release --locked --quiet --package hearth-server --bin hearth
messages=${1:-5000}

data=$(mktemp -d)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
HEARTH__SERVER__SIGNING_KEY_FILE="$data/key" HEARTH__SERVER__CONTROL_SOCKET="$data/sock" HEARTH__STORE__PATH="$data/store" \
    HEARTH__LISTEN__ADDRESSES="[\"127.0.0.1:$port\"]" HEARTH__LOG__FILTER=warn "$hearth" serve --try-it >"$data/log" 2>&1 &
node=$!
trap 'kill $node && wait $node; rm -rf "$data"' EXIT
curl --silent --fail --retry 60 --retry-delay 1 --retry-connrefused --output /dev/null "http://127.0.0.1:$port/health"
python3 bench/engines/send.py "RocksDB, one node" "$messages" "$node" "127.0.0.1:$port"
trap - EXIT
kill $node && wait $node
rm -rf "$data"
for nodes in 1 3; do
    HEARTH__LOG__FILTER=warn src/testkit/cluster.sh "$hearth" sh -c \
        'addresses=$(echo $HEARTH_CLUSTER_NODES | cut -d" " -f1-'"$nodes"'); exec python3 bench/engines/send.py "PostgreSQL, '"$nodes"' nodes at work" '"$messages"' "$HEARTH_CLUSTER_PIDS" $addresses'
done
