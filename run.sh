#!/usr/bin/env bash
# Builds Hearth and starts it to be tried: on this computer alone, at http://localhost:8008, with open registration.
# The data is kept in ./data, or in the folder that HEARTH_DATA names.
set -euo pipefail
cd "$(dirname "$0")"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/hearth-target}"
. .ci/packages.sh
install_build_packages
check_rust

echo "building; the first time takes some twenty minutes, since the database is compiled too"
cargo build --release --locked --package hearth-server --bin hearth

data="${HEARTH_DATA:-data}"
export HEARTH__SERVER__SIGNING_KEY_FILE="$data/signing.key"
export HEARTH__SERVER__CONTROL_SOCKET="$data/control.sock"
export HEARTH__STORE__PATH="$data/store"
exec "$CARGO_TARGET_DIR/release/hearth" serve --try-it
