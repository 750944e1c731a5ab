# Sourced by run.sh: what the image of a whole cluster needs beside the program, taken from this machine.

# Puts PostgreSQL with an empty database, Redis and HAProxy into the context of an image, $1.
bring_cluster() {
    local context=$1 bin lib share program made
    bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
    [ -x "$bin/initdb" ] || skip "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    for program in redis-server haproxy; do command -v "$program" >/dev/null || skip "$program is not installed (Debian: apt-get install $program)"; done
    # PostgreSQL looks for its files by where it is itself.
    lib=$("$bin/pg_config" --pkglibdir) share=$("$bin/pg_config" --sharedir)
    mkdir -p "$context/root$bin" "$context/root$lib" "$context/root$share" "$context/postgres" &&
        cp "$bin/postgres" "$context/root$bin/" && cp "$lib"/{plpgsql,dict_snowball}.so "$context/root$lib/" && cp -r "$share/." "$context/root$share/" &&
        ln -s "$bin" "$context/postgres/bin" &&
        cp "$(readlink -f "$(command -v redis-server)")" "$context/root/redis-server" && cp "$(command -v haproxy)" ../docker/haproxy.cfg "$context/root/" ||
        fail "PostgreSQL, Redis and HAProxy could not be copied"
    bring_libraries "$bin/postgres" "$context/root/redis-server" "$context/root/haproxy"
    mkdir -p "$context/root/tmp" "$context/root/etc" && chmod 1777 "$context/root/tmp"
    printf 'root:x:0:0::/:\nhearth:x:70:70::/:\n' >"$context/root/etc/passwd"
    # Not as root, which PostgreSQL refuses.
    made=$(mktemp -d) && chmod 777 "$made"
    local as=()
    [ "$(id -u)" != 0 ] || as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
    (
        cd "$made" && TZ=GMT "${as[@]}" "$bin/initdb" --pgdata "$made/data" --username hearth --auth trust --encoding UTF8 --locale C --wal-segsize 1 --no-sync &&
            echo 'CREATE DATABASE hearth;' | "${as[@]}" "$bin/postgres" --single -D "$made/data" postgres
    ) >"$work/initdb.log" 2>&1 && cp -r "$made/data" "$context/postgres/" && rm -rf "$made" || { cat "$work/initdb.log"; fail "no database could be made"; }
}
