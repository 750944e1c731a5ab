"""A whole conversation with a Matrix homeserver, held by matrix-nio with encryption.

Owns: the order of the chapters. Must never hold steps of its own: those are in chapters/.
HEARTH_URL is the server's base address; registration must be open (m.login.dummy). Exit code 0: every step passed.
https://spec.matrix.org/latest/client-server-api/
"""

import asyncio
import logging
import os
import sys
import tempfile
from types import SimpleNamespace

from chapters import accounts, devices, encryption, history, messages, reading, rooms, settings
from device import stop_all
from report import Stopped, finish, say

CHAPTERS = (accounts, rooms, messages, reading, settings, history, encryption, devices)


async def main():
    base_url = os.environ.get("HEARTH_URL", "http://localhost:8008").rstrip("/")
    logging.basicConfig(level=logging.DEBUG if os.environ.get("HEARTH_FLOW_DEBUG") else logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="hearth-flow-") as store_path:
        # What the chapters hand on to each other: people, their devices, rooms.
        world = SimpleNamespace(base_url=base_url, store_path=store_path)
        try:
            for chapter in CHAPTERS:
                await chapter.play(world)
        except Stopped as stopped:
            say(f"stopped: {stopped}")
        finally:
            await stop_all()
    return finish()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
