#!/usr/bin/env bash
# Builds Hearth and starts it to be tried: on this computer alone, at http://localhost:8008, with open registration.
# The data is kept in ./data, or in the folder that HEARTH_DATA names.
#
#   ./run.sh                             starts it
#   ./run.sh user create --admin NAME    any other command of `hearth`, for that server; from another terminal
set -euo pipefail
cd "$(dirname "$0")"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/hearth-target}"
. .ci/packages.sh
install_build_packages
check_rust

quiet=""
if [ -x "$CARGO_TARGET_DIR/release/hearth" ]; then
    quiet="--quiet"
else
    echo "building; the first time takes thirty to forty minutes on two cores, since the database is compiled too"
fi
cargo build $quiet --release --locked --package hearth-server --bin hearth

data="${HEARTH_DATA:-data}"
export HEARTH__SERVER__SIGNING_KEY_FILE="$data/signing.key"
export HEARTH__SERVER__CONTROL_SOCKET="$data/control.sock"
export HEARTH__STORE__PATH="$data/store"
if [ $# -gt 0 ]; then
    exec "$CARGO_TARGET_DIR/release/hearth" "$@"
fi
exec "$CARGO_TARGET_DIR/release/hearth" serve --try-it
