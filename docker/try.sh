#!/usr/bin/env bash
# Tries the container files on this machine, on images that are built here: nothing is pulled from a registry of images.
#
#   docker/try.sh            as root, on Debian 12, with podman, podman-compose, debootstrap, curl and Rust
#
#   TRY_ROOT   a folder of debootstrap's to use, or where to make it: [/var/tmp/hearth-try]
#   TRY_STEPS  "image compose kube"
set -euo pipefail
cd "$(dirname "$0")/.."
root=${TRY_ROOT:-/var/tmp/hearth-try}
steps=${TRY_STEPS:-image compose kube}
export CONTAINERS_CONF=$PWD/complement-tests/containers.conf
say() { echo "== $*"; }

# A Debian in which to compile, and what stands for the images of PostgreSQL, Redis and HAProxy.
if ! podman image exists localhost/hearth-try-debian; then
    say "Debian"
    [ -d "$root/etc" ] || debootstrap --variant=minbase \
        --include=ca-certificates,clang,libclang-dev,lld,make,g++,pkg-config,postgresql,redis-server,haproxy bookworm "$root"
    tar -C "$root" -c . | podman import - localhost/hearth-try-debian >/dev/null
fi
if ! podman image exists localhost/hearth-try-postgres; then
    context=$(mktemp -d)
    cat >"$context/postgres.sh" <<'END'
#!/bin/sh
# As the official image: a database, a user and a password by the environment, at the first start.
set -eu
bin=$(ls -d /usr/lib/postgresql/*/bin)
data=/var/lib/postgresql/data
mkdir -p "$data/db" && chown -R postgres "$data" && chmod 700 "$data/db"
as="setpriv --reuid=postgres --regid=postgres --clear-groups"
if [ ! -e "$data/db/PG_VERSION" ]; then
    echo "$POSTGRES_PASSWORD" >/tmp/password && chmod 644 /tmp/password
    $as $bin/initdb --pgdata "$data/db" --username "$POSTGRES_USER" --pwfile /tmp/password --auth scram-sha-256 --encoding UTF8 --locale C
    echo "host all all all scram-sha-256" >>"$data/db/pg_hba.conf"
    echo "CREATE DATABASE $POSTGRES_DB;" | $as $bin/postgres --single -D "$data/db" postgres
fi
exec $as $bin/postgres -D "$data/db" -k /tmp -c listen_addresses='*'
END
    chmod 755 "$context/postgres.sh"
    printf 'FROM localhost/hearth-try-debian\nCOPY postgres.sh /\nENTRYPOINT ["/postgres.sh"]\n' >"$context/Dockerfile"
    podman build --quiet --tag localhost/hearth-try-postgres "$context" >/dev/null
    rm -rf "$context"
fi

url=http://127.0.0.1:18008
answers() { curl --silent --fail --max-time 20 --retry 60 --retry-delay 1 --retry-all-errors --output /dev/null "$url/_matrix/client/versions"; }
# Registers and sends, with whichever node answers.
converse() {
    local token room
    token=$(curl --silent --fail --retry 20 --retry-all-errors --json "{\"username\":\"u$RANDOM$RANDOM\",\"password\":\"p$RANDOM\",\"auth\":{\"type\":\"m.login.dummy\"}}" "$url/_matrix/client/v3/register" | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
    room=$(curl --silent --fail --retry 20 --retry-all-errors --header "Authorization: Bearer $token" --json '{}' "$url/_matrix/client/v3/createRoom" | sed 's/.*"room_id":"\([^"]*\)".*/\1/')
    curl --silent --fail --retry 20 --retry-all-errors --header "Authorization: Bearer $token" --request PUT --json '{"msgtype":"m.text","body":"hello"}' \
        "$url/_matrix/client/v3/rooms/$room/send/m.room.message/1" | grep -q event_id
    # Asked anew each time, so by several nodes if HAProxy is made to spread it.
    for _ in $(seq 6); do curl --silent --fail "$url/_matrix/client/v3/rooms/$room/messages?dir=b&access_token=$token" | grep -q hello; done
}

for step in $steps; do
    case $step in
        image)
            say "the image"
            # With the machine's Rust and what it has downloaded and compiled.
            target=${CARGO_TARGET_DIR:-$HOME/.cache/hearth-target}
            toolchain=$(dirname "$(rustup which cargo)")
            printf 'FROM localhost/hearth-try-debian\nENV PATH=%s:/usr/sbin:/usr/bin:/sbin:/bin CARGO_HOME=%s CARGO_NET_OFFLINE=true\n' "$toolchain" "$HOME/.cargo" |
                podman build --quiet --tag localhost/hearth-try-rust - >/dev/null
            podman build --network=none --build-arg BUILD=localhost/hearth-try-rust --file docker/Dockerfile --tag localhost/hearth \
                --volume "$HOME/.cargo:$HOME/.cargo" --volume "$HOME/.rustup:$HOME/.rustup:ro" --volume "$target:/target" .
            podman run --rm --read-only localhost/hearth version
            podman images localhost/hearth
            ;;
        compose)
            say "compose"
            export SERVER_NAME=try.example POSTGRES_PASSWORD=try1234 HTTP_AT=127.0.0.1:18008 REGISTRATION=open OPEN_TO_EVERYONE=true
            export POSTGRES_IMAGE=localhost/hearth-try-postgres REDIS_IMAGE=localhost/hearth-try-debian HAPROXY_IMAGE=localhost/hearth-try-debian
            compose() { podman-compose --file docker/compose.yaml "$@"; }
            trap 'compose down --volumes --timeout 5 >/dev/null 2>&1' EXIT
            compose up --detach --no-build
            answers
            converse
            say "a node is killed"
            podman kill "$(podman ps --quiet --filter label=com.docker.compose.service=hearth | head -n 1)" >/dev/null
            converse
            say "two more nodes"
            compose up --detach --no-build --scale hearth=5
            answers
            converse
            compose down --volumes --timeout 10
            trap - EXIT
            ;;
        kube)
            say "kube"
            made=$(mktemp -d)
            key=$(podman run --rm localhost/hearth make-signing-key)
            sed "s#signing.key: .*#signing.key: $key#; s#PASSWORD@postgres#try1234@127.0.0.1#; s#redis://redis#redis://127.0.0.1#" docker/kubernetes/secrets.example.yaml >"$made/secrets.yaml"
            sed 's#mode = "token"#mode = "open"\n    open_to_everyone = true#' docker/kubernetes/configuration.yaml >"$made/configuration.yaml"
            # Podman has no DNS of services: one pod, with the database and the bus beside the node.
            cp docker/kubernetes/deployment.yaml "$made/deployment.yaml"
            python3 - "$made/deployment.yaml" <<'END'
import sys
text = open(sys.argv[1]).read()
beside = '''        - name: postgres
          image: localhost/hearth-try-postgres:latest
          securityContext: {runAsUser: 0, runAsNonRoot: false}
          env:
            - {name: POSTGRES_USER, value: hearth}
            - {name: POSTGRES_PASSWORD, value: try1234}
            - {name: POSTGRES_DB, value: hearth}
        - name: redis
          image: localhost/hearth-try-debian:latest
          command: [redis-server, --save, ""]
      volumes:
'''
text = text.replace("      volumes:\n", beside).replace("replicas: 3", "replicas: 1")
text = text.replace("containerPort: 8008}", "containerPort: 8008, hostPort: 18008, hostIP: 127.0.0.1}")
open(sys.argv[1], "w").write(text)
END
            cat "$made/secrets.yaml" <(echo ---) "$made/configuration.yaml" <(echo ---) "$made/deployment.yaml" >"$made/all.yaml"
            trap 'podman kube down "$made/all.yaml" >/dev/null 2>&1; podman secret rm hearth >/dev/null 2>&1' EXIT
            podman kube play "$made/all.yaml"
            answers
            converse
            podman kube down "$made/all.yaml" >/dev/null
            trap - EXIT
            rm -rf "$made"
            ;;
    esac
done
say "all of it works"
