"""A server of ours and a Synapse share rooms, and people on both sides talk over matrix-nio: flow.py PROGRAM alone|cluster

Owns: what runs. Must never hold the steps: those are in steps.py. Exit code 0: every step passed.
https://spec.matrix.org/latest/server-server-api/
"""

import asyncio
import logging
import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

sys.path.append(str(Path(__file__).parent.parent / "python"))

import servers  # noqa: E402
import steps  # noqa: E402
from device import stop_all  # noqa: E402
from report import Stopped, finish, say  # noqa: E402


OURS = {"alone": servers.Hearth, "cluster": servers.Cluster}


async def main(program, form):
    logging.basicConfig(level=logging.CRITICAL)
    python = str(Path(os.environ["HEARTH_SYNAPSE"]) / "bin" / "python")
    with tempfile.TemporaryDirectory(prefix="hearth-peers-") as folder:
        folder = Path(folder)
        # PostgreSQL runs as another user.
        folder.chmod(0o711)
        (folder / "keys").mkdir()
        certificates = servers.certificates(python, folder / "certificates")
        ours = OURS[form](folder / "hearth", certificates, program)
        theirs = servers.Synapse(folder / "synapse", certificates, python)
        world = SimpleNamespace(ours=ours, theirs=theirs, store_path=str(folder / "keys"))
        code = 1
        try:
            await asyncio.gather(ours.start(), theirs.start())
            await steps.play(world)
        except Stopped as stopped:
            say(f"stopped: {stopped}")
        finally:
            await stop_all()
            await ours.stop()
            await theirs.stop()
            code = finish()
            if code:
                say(f"the end of our server's log:\n{ours.end_of_log()}")
                say(f"the end of Synapse's log:\n{theirs.end_of_log()}")
    return code


if __name__ == "__main__":
    sys.exit(asyncio.run(main(os.path.abspath(sys.argv[1]), sys.argv[2])))
