#!/usr/bin/env bash
# Runs Complement, the conformance suite of Matrix, against Hearth in containers. See README.md.
#   complement-tests/run.sh [--cluster] [-accept] [package] [-run NAME]
# --cluster: each homeserver is three nodes behind HAProxy over PostgreSQL and Redis, all in one container.
# package: a folder under the suite's tests/ (csapi, msc3874, …), `tests` for the tests that lie in it directly, `hearth`
# for our own. Without it: all of them.
set -uo pipefail
cd "$(dirname "$0")"
here=$PWD

package="" pattern="" cluster="" options=()
while [ $# -gt 0 ]; do
    case "$1" in
    --cluster) cluster=yes ;;
    -accept) options+=(-accept) ;;
    -run) pattern=${2:?-run needs a name}; options+=(-some); shift ;;
    -*) echo "there is no option $1" >&2; exit 2 ;;
    *) package=$1 ;;
    esac
    shift
done

skip() { echo "skipped: $1"; exit 0; }
fail() { echo "$1" >&2; exit 1; }

[ -n "${COMPLEMENT_DIR:-}" ] || skip "COMPLEMENT_DIR names no checkout of matrix-org/complement"
[ -f "$COMPLEMENT_DIR/go.mod" ] || skip "there is no checkout of matrix-org/complement at COMPLEMENT_DIR=$COMPLEMENT_DIR"
command -v go >/dev/null || skip "there is no Go compiler"
if docker info >/dev/null 2>&1; then
    engine=docker
elif command -v podman >/dev/null; then
    engine=podman
else
    skip "neither Docker nor podman is here"
fi
case "$package" in
"") which=./tests/... ;;
tests) which=./tests ;;
*) which=./tests/$package ;;
esac

# One run at a time: the suite removes what earlier runs of the same package left behind, by name.
exec 9>"${TMPDIR:-/tmp}/hearth-complement.lock"
flock --nonblock 9 || { echo "another run is under way; waiting for its end"; flock 9; }

target=${CARGO_TARGET_DIR:-$HOME/.cache/hearth-target}
work=$target/complement
rm -rf "$work" && mkdir -p "$work/image/root" || fail "cannot use $work"
started=()
finish() {
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; done
}
trap finish EXIT

# The image.
binary=${HEARTH_BINARY:-}
if [ -z "$binary" ]; then
    (cd .. && CARGO_TARGET_DIR=$target cargo build --release --locked --package hearth-server --bin hearth) || fail "the build failed"
    binary=$target/release/hearth
fi
cp "$binary" "$work/image/root/hearth" && cp hearth.toml "$work/image/root/" || fail "there is no program at $binary"
# The libraries that a program is linked with, to where it looks for them.
bring_libraries() {
    local program library
    for program in "$@"; do
        ldd "$program" | grep -o '/[^ )]*' | while read -r library; do
            install -D "$library" "$work/image/root$library" || exit 1
        done || fail "the libraries of $program could not be copied"
    done
}
bring_libraries "$binary"
(cd tools && CGO_ENABLED=0 go build -o "$work/image/root/entrypoint" ./entrypoint && go build -o "$work/report" ./report) || fail "the tools do not compile"
image=localhost/hearth-complement dockerfile=../docker/complement.Dockerfile
if [ -n "$cluster" ]; then
    . ./cluster.sh
    bring_cluster "$work/image"
    image=localhost/hearth-complement-cluster dockerfile=../docker/complement-cluster.Dockerfile
fi

# Podman speaks Docker's protocol, but for a few differences that a shim hides.
if [ "$engine" = podman ]; then
    export CONTAINERS_CONF=$here/containers.conf
    socket=$work/podman.sock
    podman system service --time=0 "unix://$socket" >"$work/podman.log" 2>&1 9>&- &
    started+=($!)
    if [ -n "${COMPLEMENT_SHIM:-}" ]; then
        (cd "$COMPLEMENT_SHIM" && go build -o "$work/shim" .) || fail "the shim at COMPLEMENT_SHIM=$COMPLEMENT_SHIM does not compile"
        "$work/shim" "$work/docker.sock" "$socket" >"$work/shim.log" 2>&1 9>&- &
        started+=($!)
        socket=$work/docker.sock
    else
        echo "COMPLEMENT_SHIM is not set: podman is used as it is"
    fi
    for _ in $(seq 200); do [ -S "$socket" ] && [ -S "$work/podman.sock" ] && break; sleep 0.05; done
    export DOCKER_HOST=unix://$socket COMPLEMENT_HOSTNAME_RUNNING_COMPLEMENT=host.containers.internal
fi
# What a killed run left behind would be in the way: its networks poison name resolution.
left() { "$engine" "$@" --filter label=complement_context; }
left ps -aq | xargs -r "$engine" rm -f >/dev/null 2>&1
left network ls -q | xargs -r "$engine" network rm >/dev/null 2>&1
left images -q | sort -u | xargs -r "$engine" rmi -f >/dev/null 2>&1
if [ "$engine" = podman ]; then rm -f /run/containers/networks/aardvark-dns/complement_*; fi

"$engine" build --quiet --tag "$image" --file "$dockerfile" "$work/image" >"$work/image.log" 2>&1 || { cat "$work/image.log"; fail "the image could not be built"; }

# Our own tests are a module of their own, with the dependencies of the checkout, which stays as it is.
own=$work/hearth
mkdir -p "$own" && cp tests/*.go "$COMPLEMENT_DIR/go.sum" "$own/" && sed 's/^module .*/module hearth/' "$COMPLEMENT_DIR/go.mod" >"$own/go.mod" &&
    (cd "$own" && go mod edit -require=github.com/matrix-org/complement@v0.0.0 -replace="github.com/matrix-org/complement=$(cd "$COMPLEMENT_DIR" && pwd)") ||
    fail "our own tests cannot be laid beside the checkout"

export COMPLEMENT_BASE_IMAGE=$image COMPLEMENT_ENABLE_DIRTY_RUNS=1 COMPLEMENT_SPAWN_HS_TIMEOUT_SECS=120
run() { (cd "$1" && go test -json -count=1 -p 3 -timeout 30m ${pattern:+-run "$pattern"} "$2"); }
{
    [ "$package" = hearth ] || run "$COMPLEMENT_DIR" "$which"
    case "$package" in "" | hearth) run "$own" . ;; esac
} 2>"$work/go.log" 9>&- | tee "$work/events.json" | "$work/report" "${options[@]}" expected.txt >"$work/report.txt"
status=${PIPESTATUS[2]}
[ -s "$work/events.json" ] || cat "$work/go.log" >&2
echo "everything that the tests printed: $work/events.json"
cat "$work/report.txt"
exit "$status"
