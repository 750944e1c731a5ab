#!/usr/bin/env bash
# Tries the container files on this machine, on images that are built here: nothing is pulled from a registry of images.
#
#   docker/try.sh       as root, on Debian 12, with podman, debootstrap, curl, Rust, and podman-compose of 1.1 or newer, which can
#                       have more nodes added (`pip install podman-compose`; that of Debian 12 is older)
#
#   HEARTH_BINARY   a hearth that is built already, for release on Debian 12: the image gets it, and nothing is compiled
#   TRY_ROOT        a folder of debootstrap's to use, or where to make it: [/var/tmp/hearth-try]
#   TRY_STEPS       "image compose kube"
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
    printf 'FROM localhost/hearth-try-debian\nCOPY postgres.sh /\nSTOPSIGNAL SIGINT\nENTRYPOINT ["/postgres.sh"]\n' >"$context/Dockerfile"
    podman build --quiet --tag localhost/hearth-try-postgres "$context" >/dev/null
    rm -rf "$context"
fi

url=http://127.0.0.1:18008 token="" room=""
fetch() { curl --silent --fail --max-time 20 --retry 20 --retry-delay 1 --retry-all-errors "$@"; }
answers() { fetch --retry 60 --output /dev/null "$url/_matrix/client/versions"; }
# Registers and sends, with whichever node answers.
converse() {
    local said=hello$RANDOM
    token=$(fetch --json "{\"username\":\"u$RANDOM$RANDOM\",\"password\":\"p$RANDOM\",\"auth\":{\"type\":\"m.login.dummy\"}}" "$url/_matrix/client/v3/register" |
        sed 's/.*"access_token":"\([^"]*\)".*/\1/')
    room=$(fetch --header "Authorization: Bearer $token" --json '{}' "$url/_matrix/client/v3/createRoom" | sed 's/.*"room_id":"\([^"]*\)".*/\1/')
    fetch --header "Authorization: Bearer $token" --request PUT --json "{\"msgtype\":\"m.text\",\"body\":\"$said\"}" \
        "$url/_matrix/client/v3/rooms/$room/send/m.room.message/1" | grep -q event_id
    remembers "$said"
}
# The token is not in the header by which HAProxy chooses: so the nodes answer in turn.
remembers() {
    for _ in $(seq 6); do fetch "$url/_matrix/client/v3/rooms/$room/messages?dir=b&access_token=$token" | grep -q "${1:-hello}"; done
}

for step in $steps; do
    case $step in
        image)
            say "the image"
            if [ -n "${HEARTH_BINARY:-}" ]; then
                podman build --network=none --build-arg BUILD=localhost/hearth-try-debian --build-arg PROGRAM=/program/hearth --file docker/Dockerfile \
                    --tag localhost/hearth --volume "$(realpath "$HEARTH_BINARY"):/program/hearth:ro" .
            else
                # With the machine's Rust and what it has downloaded and compiled.
                target=${CARGO_TARGET_DIR:-$HOME/.cache/hearth-target}
                toolchain=$(dirname "$(rustup which cargo)")
                printf 'FROM localhost/hearth-try-debian\nENV PATH=%s:/usr/sbin:/usr/bin:/sbin:/bin CARGO_HOME=%s CARGO_NET_OFFLINE=true\n' "$toolchain" "$HOME/.cargo" |
                    podman build --quiet --tag localhost/hearth-try-rust - >/dev/null
                podman build --network=none --build-arg BUILD=localhost/hearth-try-rust --file docker/Dockerfile --tag localhost/hearth \
                    --volume "$HOME/.cargo:$HOME/.cargo" --volume "$HOME/.rustup:$HOME/.rustup:ro" --volume "$target:/target" .
            fi
            podman run --rm --read-only localhost/hearth version
            podman images localhost/hearth
            ;;
        compose)
            say "compose"
            export SERVER_NAME=try.example POSTGRES_PASSWORD=try1234 HTTP_AT=127.0.0.1:18008 REGISTRATION=open OPEN_TO_EVERYONE=true
            export POSTGRES_IMAGE=localhost/hearth-try-postgres REDIS_IMAGE=localhost/hearth-try-debian HAPROXY_IMAGE=localhost/hearth-try-debian
            # Never a composition that is in use here: this one has a name of its own, and its volumes are removed.
            compose() { podman-compose --project-name hearth-try --file docker/compose.yaml --file "$limits" "$@"; }
            # Where the limit of open files is given, podman raises that of processes as far as it goes, which not every machine lets it.
            limits=$(mktemp --suffix .yaml)
            echo '{services: {hearth: {ulimits: {nproc: 4096}}, haproxy: {ulimits: {nproc: 4096}}}}' >"$limits"
            containers() { podman ps --quiet --filter label=com.docker.compose.project=hearth-try --filter label=com.docker.compose.service="$@"; }
            # In this order, as Docker does it: podman-compose ends all at once, and knows of no more nodes than the file says.
            down() {
                local service
                for service in haproxy hearth postgres redis; do
                    containers "$service" --all | xargs --no-run-if-empty podman rm --force --time "$1" >/dev/null
                done
                compose down "${@:2}" 2>/dev/null
            }
            # Until so many nodes live, as `hearth cluster status` says in the container $2, or any.
            living() {
                local lines
                for _ in $(seq 60); do
                    lines=$(podman exec "${2:-$(containers hearth | sed -n 1p)}" hearth cluster status 2>&1) || true
                    if [ "$(grep -c ' version ' <<<"$lines")" = "$1" ]; then
                        echo "$lines"
                        return
                    fi
                    sleep 1
                done
                echo "there are not $1 nodes: $lines" >&2
                return 1
            }
            trap 'set +e; down 5 --volumes >/dev/null 2>&1; rm -f "$limits"' EXIT
            compose up --detach --no-build
            answers
            living 3
            converse
            podman exec "$(containers hearth | sed -n 1p)" hearth user create --admin alice
            say "a node is killed, and comes back"
            killed=$(containers hearth | sed -n 1p)
            kill -KILL "$(podman inspect --format '{{.State.Pid}}' "$killed")"
            converse
            living 3 "$killed"
            say "two more nodes"
            compose up --detach --no-build --scale hearth=5
            answers
            living 5
            converse
            say "everything is stopped, and begun again"
            down 60
            compose up --detach --no-build
            answers
            remembers
            down 60 --volumes
            rm -f "$limits"
            trap - EXIT
            ;;
        kube)
            say "kube"
            made=$(mktemp -d)
            podman run --rm localhost/hearth make-signing-key >"$made/key"
            python3 - docker/kubernetes "$made" <<'END'
import pathlib, re, sys
given, made = map(pathlib.Path, sys.argv[1:])
def write(name, source, *changes):
    text = (given / source).read_text()
    for old, new in changes:
        text, times = re.subn(old, lambda _: new, text, flags=re.DOTALL)
        assert times == 1, old
    (made / name).write_text(text)
key = (made / "key").read_text().strip()
# Podman has no DNS of services: one pod, with the database and the bus beside the node. And that of Debian 12 knows no stringData
# (its issue 16625), so that a ConfigMap stands for the Secret.
write("secrets.yaml", "secrets.example.yaml", ("ed25519 a_KEY SEED", key), ("PASSWORD@postgres", "try1234@127.0.0.1"), ("redis://redis", "redis://127.0.0.1"),
    ("kind: Secret", "kind: ConfigMap"), ("  name: hearth", "  name: hearth-secrets"), ("type: Opaque\n", ""), ("stringData:", "data:"))
write("configuration.yaml", "configuration.yaml", ('mode = "token"', 'mode = "open"\n    open_to_everyone = true'))
# It asks /health by a curl in the container, which has none: that is asked from here.
beside = '''        - name: postgres
          image: localhost/hearth-try-postgres:latest
          securityContext: {runAsUser: 0, runAsNonRoot: false}
          env:
            - {name: POSTGRES_USER, value: hearth}
            - {name: POSTGRES_PASSWORD, value: try1234}
            - {name: POSTGRES_DB, value: hearth}
        - name: redis
          image: localhost/hearth-try-debian:latest
          command: [/usr/bin/redis-server, --save, ""]
      volumes:
'''
write("deployment.yaml", "deployment.yaml", ("replicas: 3", "replicas: 1"), (r"secret: \{[^}]*\}", "configMap: {name: hearth-secrets}"),
    (r"\n      volumes:\n", "\n" + beside), ("containerPort: 8008}", "containerPort: 8008, hostPort: 18008, hostIP: 127.0.0.1}"),
    (r"          # The database is no reason.*?(?=          resources:)", ""))
END
            cat "$made/secrets.yaml" <(echo ---) "$made/configuration.yaml" <(echo ---) "$made/deployment.yaml" >"$made/all.yaml"
            trap 'podman kube down "$made/all.yaml" >/dev/null 2>&1; rm -rf "$made"' EXIT
            podman kube play "$made/all.yaml"
            answers
            fetch "$url/health/live" "$url/health/ready" >/dev/null
            converse
            podman kube down "$made/all.yaml" >/dev/null
            trap - EXIT
            rm -rf "$made"
            ;;
    esac
done
say "all of it works"
