"""Messages, edits, reactions, redactions, threads, in a room without encryption.

https://spec.matrix.org/latest/client-server-api/#forming-relationships-between-events
"""

from urllib.parse import quote

from device import fresh_name
from nio import ReactionEvent, RedactionEvent
from nio.api import MessageDirection, RelationshipType, ThreadInclusion
from report import equal, granted, holds, refused, step, until


async def play(world):
    """Leaves world.thread, the id of a thread's root, and world.replies for the chapter on receipts."""
    await step("messages go both ways", both_ways(world), vital=True)
    await step("a repeated transaction id sends once", sends_once(world))
    await step("an edit is related to its original", edit(world))
    await step("reactions are related, and taken back", reactions(world))
    await step("a redaction empties the message", redaction(world))
    await step("a thread grows from a message", thread(world))
    await step("the list of threads names it, by everybody and by participation", thread_list(world))


async def related(device, room_id, event_id, kind, direction=MessageDirection.back):
    """Ids of the events related to this one."""
    events = device.client.room_get_event_relations(room_id, event_id, kind, direction=direction)
    return [event.event_id async for event in events]


async def both_ways(world):
    everywhere = (world.desktop, world.phone, world.laptop)
    question = await world.desktop.says(world.plain, "How are you?")
    for device in everywhere:
        await device.reads(world.plain, question, "How are you?")
    answer = await world.laptop.says(world.plain, "Fine, thank you.")
    for device in everywhere:
        event = await device.reads(world.plain, answer, "Fine, thank you.")
        equal("sender", event.sender, world.laptop.user_id)
        order = list(device.events[world.plain])
        holds("in the order of sending", order.index(question) < order.index(answer), order)


async def sends_once(world):
    desktop, transaction = world.desktop, fresh_name("once")
    content = {"msgtype": "m.text", "body": "only once"}
    first, second = [
        granted("sending", await desktop.client.room_send(world.plain, "m.room.message", content, transaction)).event_id
        for _ in range(2)
    ]
    equal("both answers", second, first)
    event = await desktop.reads(world.plain, first, "only once")
    equal("the sender's device is told its transaction id", event.transaction_id, transaction)
    event = await world.laptop.reads(world.plain, first, "only once")
    equal("nobody else is", event.transaction_id, None)


async def edit(world):
    desktop, laptop = world.desktop, world.laptop
    original = await desktop.says(world.plain, "We meet at noon")
    replacement = await desktop.says(
        world.plain,
        "* We meet at one",
        **{
            "m.new_content": {"msgtype": "m.text", "body": "We meet at one"},
            "m.relates_to": {"rel_type": "m.replace", "event_id": original},
        },
    )
    event = await laptop.reads(world.plain, replacement, "* We meet at one")
    equal("new text", event.source["content"]["m.new_content"]["body"], "We meet at one")
    fetched = await laptop.fetch_event(world.plain, original)
    bundled = fetched.get("unsigned", {}).get("m.relations", {}).get("m.replace", {})
    equal("the original bundles its replacement", bundled.get("event_id"), replacement)
    listed = await related(laptop, world.plain, original, RelationshipType.replacement)
    equal("relations list it", listed, [replacement])


async def reactions(world):
    desktop, laptop = world.desktop, world.laptop
    subject = await desktop.says(world.plain, "Cake?")
    await laptop.reads(world.plain, subject, "Cake?")

    def content(key):
        return {"m.relates_to": {"rel_type": "m.annotation", "event_id": subject, "key": key}}

    like = await laptop.sends(world.plain, "m.reaction", content("👍"))
    cake = await desktop.sends(world.plain, "m.reaction", content("🍰"))
    again = await laptop.client.room_send(world.plain, "m.reaction", content("👍"))
    refused("the same reaction twice", again, "M_DUPLICATE_ANNOTATION")
    seen = await until("alice sees bob's reaction", lambda: desktop.event(world.plain, like))
    holds("nio reads it as one", isinstance(seen, ReactionEvent), seen)
    equal("of what, with what", (seen.reacts_to, seen.key), (subject, "👍"))
    kind = RelationshipType.annotation
    equal("relations, newest first", await related(desktop, world.plain, subject, kind), [cake, like])
    granted("taking it back", await laptop.client.room_redact(world.plain, like))
    equal("relations afterwards", await related(desktop, world.plain, subject, kind), [cake])


async def redaction(world):
    desktop, laptop = world.desktop, world.laptop
    regretted = await laptop.says(world.plain, "My password is hunter2")
    await desktop.reads(world.plain, regretted, "My password is hunter2")
    done = granted("redaction", await laptop.client.room_redact(world.plain, regretted, reason="oops")).event_id
    seen = await until("alice sees the redaction", lambda: desktop.event(world.plain, done))
    holds("nio reads it as one", isinstance(seen, RedactionEvent), seen)
    equal("of what, and why", (seen.redacts, seen.reason), (regretted, "oops"))
    fetched = await desktop.fetch_event(world.plain, regretted)
    equal("content at the server", fetched["content"], {})
    equal("redacted because", fetched["unsigned"]["redacted_because"]["event_id"], done)
    event = granted("event", await desktop.client.room_get_event(world.plain, regretted)).event
    equal("who redacted it", event.redacter, laptop.user_id)
    others = await desktop.says(world.plain, "mine")
    refused("bob redacts alice's", await laptop.client.room_redact(world.plain, others), "M_FORBIDDEN")


async def thread(world):
    desktop, laptop = world.desktop, world.laptop
    root = await desktop.says(world.plain, "Where shall we go on holiday?")
    relation = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    replies = []
    for device, body in ((laptop, "Norway"), (laptop, "or Iceland"), (desktop, "Portugal")):
        replies.append(await device.says(world.plain, body, **relation))
    world.thread, world.replies = root, replies
    await laptop.reads(world.plain, replies[-1], "Portugal")
    kind = RelationshipType.thread
    equal("relations, newest first", await related(laptop, world.plain, root, kind), replies[::-1])
    forwards = await related(laptop, world.plain, root, kind, MessageDirection.front)
    equal("relations, oldest first", forwards, replies)
    path = f"/v1/rooms/{quote(world.plain)}/relations/{quote(root)}/m.thread"
    page = await laptop.fetch(path, {"limit": "2"})
    rest = await laptop.fetch(path, {"limit": "2", "from": page["next_batch"]})
    pages = [[event["event_id"] for event in part["chunk"]] for part in (page, rest)]
    equal("by pages", pages, [replies[:0:-1], replies[:1]])
    summary = (await laptop.fetch_event(world.plain, root))["unsigned"]["m.relations"]["m.thread"]
    equal(
        "the root bundles a summary",
        (summary["count"], summary["latest_event"]["event_id"], summary["current_user_participated"]),
        (3, replies[-1], True),
    )


async def thread_list(world):
    desktop, laptop = world.desktop, world.laptop
    lonely = await laptop.says(world.plain, "Talking to myself")
    await laptop.says(world.plain, "still", **{"m.relates_to": {"rel_type": "m.thread", "event_id": lonely}})

    async def listed(which):
        return [event.event_id async for event in desktop.client.room_get_threads(world.plain, which)]

    equal("all threads, latest first", await listed(ThreadInclusion.all), [lonely, world.thread])
    equal("alice's threads", await listed(ThreadInclusion.participated), [world.thread])
