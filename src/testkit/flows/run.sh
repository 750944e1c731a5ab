#!/bin/sh
# Runs whole conversations of unmodified client libraries against a homeserver, and judges what they saw.
#
#   src/testkit/flows/run.sh http://localhost:8008
#
# The server must have open registration (m.login.dummy) and rate limits that let a busy client through.
# The libraries are installed once, into a folder outside the checkout; afterwards no network is needed.
#
#   HEARTH_FLOW_CACHE         that folder, ~/.cache/hearth-flows unless set
#   HEARTH_FLOWS              which flows: "js python" unless set
#   HEARTH_FLOW_SECONDS       time limit of a flow, 300 unless set
#   HEARTH_FLOW_WAIT_SECONDS  how long a flow waits for one thing to happen, 30 unless set
#   HEARTH_FLOW_DEBUG         1: the libraries say what they do
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${HEARTH_FLOW_CACHE:-${HOME:?}/.cache/hearth-flows}

if [ $# -ne 1 ]; then
    echo "usage: $0 URL" >&2
    exit 2
fi
export HEARTH_URL="$1"
export PYTHONDONTWRITEBYTECODE=1

missing() {
    echo "flows: $1" >&2
    echo "flows: on Debian or Ubuntu: apt-get install $2" >&2
    exit 3
}

fingerprint() {
    cat "$@" | sha256sum | cut -c1-12
}

# A half-made folder never gets the final name, so an interrupted install is simply made again.
publish() {
    mv "$1" "$2" 2>/dev/null || rm -rf "$1" # somebody else was faster
    [ -d "$2" ]
}

install_js() {
    HEARTH_FLOW_MODULES="$cache/js-$(fingerprint "$here/js/package.json" "$here/js/package-lock.json")"
    export HEARTH_FLOW_MODULES
    if [ ! -d "$HEARTH_FLOW_MODULES" ]; then
        command -v npm >/dev/null || missing "npm is needed to install matrix-js-sdk" "nodejs npm"
        echo "installing matrix-js-sdk into $HEARTH_FLOW_MODULES"
        new="$HEARTH_FLOW_MODULES.new.$$"
        mkdir -p "$new"
        cp "$here/js/package.json" "$here/js/package-lock.json" "$new/"
        npm --prefix "$new" ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2
        publish "$new" "$HEARTH_FLOW_MODULES"
    fi
    # The packages bring a Node that is new enough for Linux; elsewhere the installed one must be.
    node="$HEARTH_FLOW_MODULES/node_modules/.bin/node"
    [ -x "$node" ] || node=node
    "$node" -e 'process.exit(process.versions.node.split(".")[0] >= 22 ? 0 : 1)' 2>/dev/null ||
        missing "Node 22 or newer is needed" "nodejs (22 or newer)"
}

install_python() {
    command -v python3 >/dev/null || missing "Python is needed for matrix-nio" "python3 python3-venv"
    version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    packages="$cache/python-$version-$(fingerprint "$here/python/requirements.txt")"
    if [ ! -d "$packages" ]; then
        echo "installing matrix-nio into $packages"
        new="$packages.new.$$"
        mkdir -p "$cache"
        if python3 -m venv "$new" >/dev/null 2>&1; then
            pip="$new/bin/python -m pip install"
        else
            # Without python3-venv: packages in a plain folder.
            rm -rf "$new"
            python3 -m pip --version >/dev/null 2>&1 || missing "a way to install matrix-nio is needed" "python3-venv"
            pip="python3 -m pip install --target $new/packages"
        fi
        $pip --quiet --disable-pip-version-check --requirement "$here/python/requirements.txt" >&2
        publish "$new" "$packages"
    fi
    python="$packages/bin/python"
    if [ -d "$packages/packages" ]; then
        python=python3
        export PYTHONPATH="$packages/packages"
    fi
}

run_js() {
    "$node" --import "$here/js/resolve.js" "$here/js/flow.js"
}

run_python() {
    "$python" "$here/python/flow.py"
}

passed=0
failed=0
log=$(mktemp)
trap 'rm -f "$log" "$log.code"' EXIT

for flow in ${HEARTH_FLOWS:-js python}; do
    case $flow in
        js) install_js ;;
        python) install_python ;;
        *)
            echo "flows: there is no flow called $flow" >&2
            exit 2
            ;;
    esac
    echo "flow: $flow"
    { "run_$flow" && echo 0 >"$log.code" || echo 1 >"$log.code"; } 2>&1 | tee "$log"
    ok=$(grep -c '^ok ' "$log") || true
    bad=$(grep -c '^not ok ' "$log") || true
    # A flow that ended badly without naming a step has failed all the same.
    if [ "$(cat "$log.code")" != 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
    passed=$((passed + ok))
    failed=$((failed + bad))
done

echo "flows: $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
