#!/bin/sh
# A server of ours and a Synapse from its package share rooms over TLS, and people on both sides talk.
#
#   src/testkit/flows/peers/run.sh PROGRAM alone|cluster
#
# PROGRAM is the built `hearth`; ours is one node, or three behind HAProxy over PostgreSQL and Redis (../../cluster.sh). All listen on
# loopback, certified by an authority that is made for the run. The folder of the flow's library is made by ../run.sh, whose
# variables hold here too.
#
# It leaves with 77 where something that it needs is not installed.
#
#   HEARTH_SYNAPSE   a Python environment with the package matrix-synapse, ~/.cache/hearth-bench/synapse unless set
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${HEARTH_FLOW_CACHE:-${HOME:?}/.cache/hearth-flows}
export HEARTH_SYNAPSE="${HEARTH_SYNAPSE:-$HOME/.cache/hearth-bench/synapse}"
export PYTHONDONTWRITEBYTECODE=1

if [ $# -ne 2 ]; then
    echo "usage: $0 PROGRAM alone|cluster" >&2
    exit 2
fi
if ! "$HEARTH_SYNAPSE/bin/python" -c 'import synapse' 2>/dev/null; then
    echo "skipped: there is no Synapse in $HEARTH_SYNAPSE (python3 -m venv there, then bin/pip install matrix-synapse)"
    exit 77
fi
[ "$2" = alone ] || "$here/../../cluster.sh" "$1" || exit
version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
packages="$cache/python-$version-$(sha256sum <"$here/../python/requirements.txt" | cut -c1-12)"
if [ ! -d "$packages" ]; then
    echo "skipped: the library of the flows is not installed; ../run.sh does that"
    exit 77
fi
python="$packages/bin/python"
if [ -d "$packages/packages" ]; then
    python=python3
    export PYTHONPATH="$packages/packages"
fi
export HEARTH_FLOW_SECONDS="${HEARTH_FLOW_SECONDS:-600}"
exec "$python" "$here/flow.py" "$1" "$2"
