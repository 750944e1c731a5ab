"""Going back over more than 500 events after a gap, and the context of one event.

https://spec.matrix.org/latest/client-server-api/#syncing
"""

from types import SimpleNamespace

from nio import MessageDirection, RoomMessageText, RoomPreset
from report import equal, granted, holds, step

from chapters.rooms import joins, made

COUNT = 510
PAGE = 50


async def play(world):
    """Makes a room of its own; leaves it out of the world."""
    long = SimpleNamespace()
    await step(f"bob writes {COUNT} messages while a device of alice sleeps", write(world, long))
    await step("back-pagination over the gap finds each exactly once and in order", backwards(long))
    await step("forward pagination finds the same", forwards(world, long))
    await step("the context of an event in the middle", context(world, long))


async def write(world, long):
    desktop, laptop = world.desktop, world.laptop
    long.room_id = await made(desktop, preset=RoomPreset.private_chat, name="Long", invite=[laptop.user_id])
    await laptop.invited(long.room_id)
    await joins(laptop, long.room_id, witness=desktop)
    long.sleeper = await world.alice.log_in("sleeper")
    first = granted("first sync", await long.sleeper.client.sync(timeout=0))
    holds("the sleeper has the room", long.room_id in first.rooms.join, list(first.rooms.join))
    long.bodies = [f"message {number}" for number in range(1, COUNT + 1)]
    long.ids = [await laptop.says(long.room_id, body) for body in long.bodies]
    equal("as many event ids", len(set(long.ids)), COUNT)


async def backwards(long):
    client = long.sleeper.client
    answer = granted("sync over the gap", await client.sync(timeout=0))
    timeline = answer.rooms.join[long.room_id].timeline
    equal("there is a gap", timeline.limited, True)
    newest_first = timeline.events[::-1]
    token = timeline.prev_batch
    for _ in range(3 * COUNT // PAGE):
        page = granted("page", await client.room_messages(long.room_id, token, limit=PAGE))
        newest_first.extend(page.chunk)
        if page.end is None or not page.chunk:
            break
        token = page.end
    events = newest_first[::-1]
    equal("the first event of all", events[0].source["type"], "m.room.create")
    equal("each once", len({event.event_id for event in events}), len(events))
    messages = [event for event in events if isinstance(event, RoomMessageText)]
    equal("how many", len(messages), COUNT)
    equal("texts", [event.body for event in messages], long.bodies)
    equal("events", [event.event_id for event in messages], long.ids)
    granted("log-out", await client.logout())


async def forwards(world, long):
    client, events, token = world.desktop.client, [], None
    for _ in range(3 * COUNT // PAGE):
        page = granted(
            "page", await client.room_messages(long.room_id, token, direction=MessageDirection.front, limit=PAGE)
        )
        events.extend(page.chunk)
        if page.end is None or not page.chunk:
            break
        token = page.end
    equal("the first event of all", events[0].source["type"], "m.room.create")
    equal("events", [event.event_id for event in events if isinstance(event, RoomMessageText)], long.ids)


async def context(world, long):
    client = world.desktop.client
    around = granted("context", await client.room_context(long.room_id, long.ids[250], limit=10))
    found = [*around.events_before[::-1], around.event, *around.events_after]
    equal("five before and five after", [event.event_id for event in found], long.ids[245:256])
    earlier = granted("earlier", await client.room_messages(long.room_id, around.start, limit=3))
    equal("going on backwards", [event.event_id for event in earlier.chunk], long.ids[242:245][::-1])
