"""Receipts (public, private, in a thread), read markers, unread counts, typing.

https://spec.matrix.org/latest/client-server-api/#receipts
"""

from urllib.parse import quote

from nio import ReceiptType
from report import equal, granted, step, until


async def play(world):
    """Works in world.plain; needs world.thread."""
    await step("a public receipt is seen by the other", public_receipt(world))
    await step("a private receipt is seen by the reader's own devices only", private_receipt(world))
    await step("a receipt in a thread names the thread", threaded_receipt(world))
    await step("the fully-read marker is account data of the room", fully_read(world))
    await step("unread and highlight counts rise and fall", unread(world))
    await step("typing begins and ends", typing(world))


def receipts(device, event_id, user_id, kind):
    """Threads of the receipts for this event by this user that the device was sent."""
    return [
        receipt.thread_id
        for receipt in device.receipts
        if (receipt.event_id, receipt.user_id, receipt.receipt_type) == (event_id, user_id, kind)
    ]


async def public_receipt(world):
    desktop, laptop = world.desktop, world.laptop
    said = await desktop.says(world.plain, "Read this")
    await laptop.reads(world.plain, said, "Read this")
    granted("receipt", await laptop.client.update_receipt_marker(world.plain, said))
    seen = lambda: receipts(desktop, said, laptop.user_id, "m.read")  # noqa: E731
    await until("alice sees bob's receipt", seen, lambda: desktop.receipts)
    equal("of the main timeline", seen()[0], "main")


async def private_receipt(world):
    desktop, phone, laptop = world.desktop, world.phone, world.laptop
    said = await laptop.says(world.plain, "Secretly read")
    await desktop.reads(world.plain, said, "Secretly read")
    granted("receipt", await desktop.client.update_receipt_marker(world.plain, said, ReceiptType.read_private))
    seen = lambda: receipts(phone, said, desktop.user_id, "m.read.private")  # noqa: E731
    await until("the phone sees it", seen, lambda: phone.receipts)
    # Whatever was to reach bob before this message has reached him once he reads it.
    fence = await desktop.says(world.plain, "fence")
    await laptop.reads(world.plain, fence, "fence")
    equal("what bob was sent", receipts(laptop, said, desktop.user_id, "m.read.private"), [])
    equal("nor disguised as public", receipts(laptop, said, desktop.user_id, "m.read"), [])


async def threaded_receipt(world):
    desktop, laptop = world.desktop, world.laptop
    last = world.replies[-1]
    granted("receipt", await laptop.client.update_receipt_marker(world.plain, last, thread_id=world.thread))
    seen = lambda: receipts(desktop, last, laptop.user_id, "m.read")  # noqa: E731
    await until("alice sees it", seen, lambda: desktop.receipts)
    equal("its thread", seen()[0], world.thread)


async def fully_read(world):
    desktop, phone, laptop = world.desktop, world.phone, world.laptop
    said = await laptop.says(world.plain, "Up to here")
    await desktop.reads(world.plain, said, "Up to here")
    granted("markers", await desktop.client.room_read_markers(world.plain, said, said))
    marker = lambda: phone.room(world.plain).fully_read_marker  # noqa: E731
    await until("the phone sees the marker", lambda: marker() == said, marker)
    await until("bob sees the receipt", lambda: receipts(laptop, said, desktop.user_id, "m.read"))


async def unread(world):
    desktop, laptop = world.desktop, world.laptop

    def counts():
        room = laptop.room(world.plain)
        return room.unread_notifications, room.unread_highlights

    async def becomes(*expected):
        await until(f"counts become {expected}", lambda: counts() == expected, counts)

    async def reads_all(event_id, body):
        await laptop.reads(world.plain, event_id, body)
        # Without a thread it counts for all of them. nio would send a null thread, which servers refuse.
        path = f"/v3/rooms/{quote(world.plain)}/receipt/m.read/{quote(event_id)}"
        equal("receipt", await laptop.request("POST", path, {}), (200, {}))

    await reads_all(await desktop.says(world.plain, "zero"), "zero")
    await becomes(0, 0)
    await desktop.says(world.plain, "one")
    await becomes(1, 0)
    mention = await desktop.says(world.plain, "two, bob", **{"m.mentions": {"user_ids": [laptop.user_id]}})
    await becomes(2, 1)
    await reads_all(mention, "two, bob")
    await becomes(0, 0)


async def typing(world):
    desktop, laptop = world.desktop, world.laptop
    who = lambda: laptop.room(world.plain).typing_users  # noqa: E731
    granted("typing", await desktop.client.room_typing(world.plain, True))
    await until("bob sees alice typing", lambda: who() == [desktop.user_id], who)
    granted("not typing", await desktop.client.room_typing(world.plain, False))
    await until("bob sees her stop", lambda: who() == [], who)
