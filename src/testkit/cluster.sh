#!/usr/bin/env bash
# Runs a command beside a cluster: PostgreSQL, Redis, three nodes of Hearth and HAProxy, on free loopback ports, everything in a
# temporary folder that is gone afterwards.
#
#   src/testkit/cluster.sh HEARTH COMMAND…      HEARTH: the program, such as target/debug/hearth
#   src/testkit/cluster.sh HEARTH               only says whether what is needed is installed
#
#   HEARTH_CLUSTER_FOLDER  a folder to use instead, which stays: the next cluster in it goes on with what is stored there
#   HEARTH__…              settings of the nodes
#   HEARTH_HTTP, HEARTH_HTTPS, HEARTH_CERTIFICATE      where HAProxy listens: see docker/haproxy.cfg
#
# The command finds
#   HEARTH_CLUSTER_URL     HAProxy, http://127.0.0.1:PORT
#   HEARTH_CLUSTER_NODES   the addresses of the nodes themselves
#   HEARTH_CLUSTER_PIDS    the processes of all that, those below them left out
#   HEARTH_CLUSTER_NODE_PIDS   those of the nodes
#   HEARTH_TEST_POSTGRES   the address of the database server, with the right to make databases
# Its status is this one's; 77: something that is needed is not installed, and nothing was tried.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
hearth=${1:?which program?}
shift

# Debian keeps the programs of PostgreSQL out of the path.
programs=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[ -n "$programs" ] || programs=$(dirname "$(command -v initdb 2>/dev/null || echo /initdb)")
missing=""
[ -x "$programs/initdb" ] || missing="$missing postgresql"
for program in redis-server haproxy; do command -v "$program" >/dev/null || missing="$missing $program"; done
[ -z "$missing" ] || { echo "not installed:$missing"; exit 77; }
[ $# -gt 0 ] || exit 0

folder=${HEARTH_CLUSTER_FOLDER:-$(mktemp -d)}
mkdir -p "$folder"
chmod 711 "$folder"
mkdir -p -m 700 "$folder"/{postgres,redis,node1,node2,node3}
# PostgreSQL refuses to run as root.
as=()
if [ "$(id -u)" = 0 ]; then
    chown postgres "$folder/postgres"
    as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
fi
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null; done
    [ -z "${postgres:-}" ] || { kill -INT "$postgres" && wait "$postgres"; } 2>/dev/null
    [ -n "${HEARTH_CLUSTER_FOLDER:-}" ] || rm -rf "$folder"
}
trap finish EXIT
fail() {
    echo "$1"
    for log in "$folder"/*.log; do echo "the end of ${log##*/}:" && tail -n 20 "$log"; done
    exit 1
}

# All at once, so that none is given twice.
read -r port redis_port node_ports < <(python3 -c '
import socket
free = [socket.socket() for _ in range(5)]
for s in free: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in free))')

was_there=$(ls "$folder/postgres")
[ -n "$was_there" ] ||
    "${as[@]}" "$programs/initdb" --pgdata "$folder/postgres/data" --username hearth --auth trust --encoding UTF8 --no-sync >"$folder/initdb.log" 2>&1 ||
    fail "no database could be made"
(cd "$folder/postgres" && exec "${as[@]}" "$programs/postgres" -D "$folder/postgres/data" -k "$folder/postgres" \
    -c listen_addresses= -c max_connections=400 >"$folder/postgres.log" 2>&1) &
postgres=$!
redis-server --bind 127.0.0.1 --port "$redis_port" --dir "$folder/redis" --save '' --appendonly no >"$folder/redis.log" 2>&1 &
pids+=($!)
for _ in $(seq 300); do "$programs/pg_isready" --quiet --host "$folder/postgres" && break; sleep 0.1; done
host=$(printf %s "$folder/postgres" | sed 's#/#%2F#g')
export HEARTH_TEST_POSTGRES="postgres://hearth@$host/postgres"
[ -n "$was_there" ] || "$programs/createdb" --host "$folder/postgres" --username hearth hearth || fail "PostgreSQL did not start"

number=0 nodes="" node_pids=""
for node_port in $node_ports; do
    number=$((number + 1))
    HEARTH__SERVER__SIGNING_KEY_FILE="$folder/signing.key" HEARTH__SERVER__CONTROL_SOCKET="$folder/node$number/control.sock" \
        HEARTH__STORE__URL="postgres://hearth@$host/hearth" HEARTH__REDIS__URL="redis://127.0.0.1:$redis_port" \
        HEARTH__LISTEN__ADDRESSES="[\"127.0.0.1:$node_port\"]" HEARTH__LISTEN__BEHIND_PROXY=true \
        "$hearth" serve --try-it >>"$folder/node$number.log" 2>&1 &
    pids+=($!) node_pids="$node_pids $!"
    curl --silent --fail --retry 60 --retry-delay 1 --retry-connrefused --output /dev/null "http://127.0.0.1:$node_port/health" ||
        fail "node $number did not start"
    export "HEARTH_NODE_$number=127.0.0.1:$node_port"
    nodes="$nodes 127.0.0.1:$node_port"
done
http=${HEARTH_HTTP:-127.0.0.1:$port}
HEARTH_HTTP=$http haproxy -db -f "$root/docker/haproxy.cfg" >"$folder/haproxy.log" 2>&1 &
pids+=($!)
export HEARTH_CLUSTER_URL="http://$http" HEARTH_CLUSTER_NODES="$nodes" HEARTH_CLUSTER_PIDS="${pids[*]} $postgres"
export HEARTH_CLUSTER_NODE_PIDS="$node_pids"
curl --silent --fail --retry 60 --retry-delay 1 --retry-all-errors --output /dev/null "$HEARTH_CLUSTER_URL/health" || fail "HAProxy did not start"
"$@"
result=$?
[ "$result" = 0 ] || fail "it failed: $*"
exit "$result"
