"""What two people on two servers do: alice on ours, bob on Synapse.

Owns: the steps. Must never touch processes beyond stopping and starting a server.
https://spec.matrix.org/latest/server-server-api/
"""

import asyncio
from urllib.parse import quote

from device import Person
from nio import RoomPreset
from report import equal, granted, holds, refused, step, until

ENCRYPTED = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
VERSIONS = ("9", "10", "11", "12")
OLD = 1000


async def play(world):
    await step("alice is on our server and bob on Synapse", people(world), vital=True)
    for version in VERSIONS:
        await step(f"alice invites bob to a room of version {version}, and they talk", invited(world, version, ours=True))
        await step(f"bob invites alice to a room of version {version}, and they talk", invited(world, version, ours=False))
    await step("an invite is declined, in both directions", declined(world))
    await step("encrypted messages go both ways", encrypted(world))
    await step("who types is seen on the other side", typing(world))
    await step("receipts are seen on the other side", receipts(world))
    await step("who is there is seen on the other side", presence(world))
    await step("profiles, aliases and public rooms of the other server are found", looked_up(world))
    await step("events are signed by the policy server of their room, or refused", policed(world))
    await step(f"bob reads back {OLD} messages from before he came", history(world, ours=True))
    await step(f"alice reads back {OLD} messages from before she came", history(world, ours=False))
    if hasattr(world.ours, "kill_node"):
        await step("one of our nodes is killed, and they go on talking", node_killed(world))
    await step("what was said while Synapse was away comes when it is back", away(world, world.theirs))
    await step("what was said while our server was away comes when it is back", away(world, world.ours))
    await step("a room is replaced, and both are in the new one", upgraded(world))


async def people(world):
    world.alice = await Person(world.ours.url, world.store_path, "alice").register("alice")
    world.bob = await Person(world.theirs.url, world.store_path, "bob").register("bob")
    for device in (world.alice, world.bob):
        await device.start()


def sides(world, ours):
    """Who begins, and who is on the other server."""
    return (world.alice, world.bob) if ours else (world.bob, world.alice)


async def shared(host, guest, **wanted):
    """A room of the host's that the guest joined."""
    made = granted("room", await host.client.room_create(invite=[guest.user_id], **wanted))
    await guest.invited(made.room_id)
    granted("join", await guest.client.join(made.room_id))
    await host.sees_member(made.room_id, guest.user_id)
    await until(f"{guest.name} has the room", lambda: guest.room(made.room_id))
    return made.room_id


async def talk(one, other, room_id, word):
    """Each says something that the other reads."""
    for speaker, listener in ((one, other), (other, one)):
        body = f"{word}, says {speaker.name}"
        event_id = await speaker.says(room_id, body)
        await listener.reads(room_id, event_id, body)


async def invited(world, version, ours):
    host, guest = sides(world, ours)
    room_id = await shared(host, guest, preset=RoomPreset.private_chat, room_version=version, name=f"Room {version}")
    await talk(host, guest, room_id, "hello")
    world.last = room_id


async def declined(world):
    for host, guest in (sides(world, True), sides(world, False)):
        made = granted("room", await host.client.room_create(invite=[guest.user_id]))
        await guest.invited(made.room_id)
        granted("leave", await guest.client.room_leave(made.room_id))
        path = f"/v3/rooms/{quote(made.room_id)}/state/m.room.member/{quote(guest.user_id)}"

        async def left():
            return (await host.fetch(path))["membership"] == "leave"

        await until("the host sees that the invite is declined", left)


async def encrypted(world):
    alice, bob = world.alice, world.bob
    room_id = await shared(alice, bob, preset=RoomPreset.private_chat, initial_state=[ENCRYPTED])
    for device, other in ((alice, bob), (bob, alice)):
        await until(f"{device.name} knows that the room is encrypted", lambda: device.room(room_id).encrypted)
        await until(
            f"{device.name} knows the other's device",
            lambda: other.device_id in {d.id for d in device.client.device_store.active_user_devices(other.user_id)},
        )
    for speaker, listener in ((alice, bob), (bob, alice)):
        body = f"a secret of {speaker.name}"
        event_id = await speaker.says(room_id, body)
        event = await listener.reads(room_id, event_id, body)
        holds("it was encrypted", event.decrypted, event)


async def typing(world):
    for one, other in (sides(world, True), sides(world, False)):
        granted("typing", await one.client.room_typing(world.last, True, 20_000))
        room = other.room(world.last)
        await until(f"{other.name} sees who types", lambda: one.user_id in room.typing_users)
        granted("typing", await one.client.room_typing(world.last, False))
        await until(f"{other.name} sees that nobody types", lambda: one.user_id not in room.typing_users)


async def receipts(world):
    for one, other in (sides(world, True), sides(world, False)):
        event_id = await other.says(world.last, "did you read this?")
        await one.reads(world.last, event_id, "did you read this?")
        granted("receipt", await one.client.room_read_markers(world.last, event_id, event_id))
        await until(
            f"{other.name} sees the receipt",
            lambda: any(r.user_id == one.user_id and r.event_id == event_id for r in other.receipts),
        )


async def presence(world):
    for one, other in (sides(world, True), sides(world, False)):
        message = f"at work, {one.name}"
        granted("presence", await one.client.set_presence("online", message))
        path = f"/v3/presence/{quote(one.user_id)}/status"

        async def told():
            status, answer = await other.request("GET", path)
            return status == 200 and answer.get("status_msg") == message and answer.get("presence") == "online"

        await until(f"{other.name} sees who is there", told)


async def looked_up(world):
    for one, other, server in ((*sides(world, True), world.ours), (*sides(world, False), world.theirs)):
        granted("name", await one.client.set_displayname(f"The {one.name}"))
        answer = await other.fetch(f"/v3/profile/{quote(one.user_id)}")
        equal("displayname", answer.get("displayname"), f"The {one.name}")
        wanted = {"preset": "public_chat", "room_alias_name": "lobby", "name": "Lobby"}
        if server is world.ours:
            wanted["visibility"] = "public"
        status, made = await one.request("POST", "/v3/createRoom", wanted)
        equal("status", status, 200)
        alias = f"#lobby:{server.name}"
        found = await other.fetch(f"/v3/directory/room/{quote(alias)}")
        equal("the alias leads to the room", found["room_id"], made["room_id"])
        granted("join", await other.client.join(alias))
    listed = await world.bob.fetch("/v3/publicRooms", {"server": world.ours.name})
    holds("the room is listed", any(room.get("name") == "Lobby" for room in listed["chunk"]), listed)


async def policed(world):
    """The policy server is on Synapse, which sends on what bob says without asking it."""
    alice, bob = world.alice, world.bob
    room_id = await shared(alice, bob, preset=RoomPreset.private_chat, room_version="12")
    granted("policy", await alice.client.room_put_state(room_id, "m.room.policy", world.theirs.policy()))
    await talk(alice, bob, room_id, "fine")
    path = f"/v3/rooms/{quote(room_id)}/send/m.room.message/spam"
    refused("spam", await alice.request("PUT", path, {"msgtype": "m.text", "body": "spam"}), "M_FORBIDDEN")
    spam = await bob.says(room_id, "spam")
    await talk(bob, alice, room_id, "fine again")
    holds("alice does not see what was refused", alice.event(room_id, spam) is None, alice.event(room_id, spam))
    asked = world.theirs.policed()
    for device in (alice, bob):
        for text in (f"fine, says {device.name}", f"fine again, says {device.name}"):
            holds(f'"{text}" was signed once', asked.count([device.user_id, text, False]) == 1, asked)
        holds("spam was refused", [device.user_id, "spam", True] in asked, asked)


async def history(world, ours):
    host, guest = sides(world, ours)
    status, made = await host.request("POST", "/v3/createRoom", {"preset": "public_chat", "room_alias_name": "old"})
    equal("status", status, 200)
    room_id = made["room_id"]
    for number in range(OLD):
        path = f"/v3/rooms/{quote(room_id)}/send/m.room.message/{number}"
        status, answer = await host.request("PUT", path, {"msgtype": "m.text", "body": f"old {number}"})
        equal("status", status, 200)
    server = world.ours if ours else world.theirs
    granted("join", await guest.client.join(f"#old:{server.name}"))
    seen, token = [], None
    path = f"/v3/rooms/{quote(room_id)}/messages"
    while True:
        query = {"dir": "b", "limit": "100", **({"from": token} if token else {})}
        page = await guest.fetch(path, query)
        seen += [e["content"]["body"] for e in page["chunk"] if e["type"] == "m.room.message" and "body" in e["content"]]
        token = page.get("end")
        if not token:
            break
    wanted = [f"old {number}" for number in reversed(range(OLD))]
    equal("what is missing", [body for body in wanted if body not in seen][:20], [])
    equal("what is out of place", [pair for pair in zip(seen, wanted) if pair[0] != pair[1]][:20], [])
    equal("how much was read back", len(seen), OLD)


async def node_killed(world):
    """Whatever that node was about to send or had begun to receive is taken over by the others."""
    world.ours.kill_node()
    for number in range(5):
        await talk(world.alice, world.bob, world.last, f"with a node less {number}")
    await invited(world, "12", ours=False)


async def away(world, server):
    """One server stops; the other's user goes on talking; the first comes back and hears everything."""
    there, here = (world.alice, world.bob) if server is world.ours else (world.bob, world.alice)
    await there.stop()
    await server.stop()
    said = []
    for number in range(30):
        body = f"while you were away {number}"
        said.append((await here.says(world.last, body), body))
    await server.start()
    await there.restart()
    # Whoever was away speaks first, which tells the other server that it is back.
    event_id = await there.says(world.last, "I am back")
    await here.reads(world.last, event_id, "I am back")

    async def all_there():
        missing = [body for event_id, body in said if not await known(there, world.last, event_id)]
        return not missing

    await until("everything that was said comes", all_there)
    await talk(there, here, world.last, "together again")


async def known(device, room_id, event_id):
    status, _ = await device.request("GET", f"/v3/rooms/{quote(room_id)}/event/{quote(event_id)}")
    return status == 200


async def upgraded(world):
    for host, guest in (sides(world, True), sides(world, False)):
        room_id = await shared(host, guest, preset=RoomPreset.private_chat, room_version="10")
        path = f"/v3/rooms/{quote(room_id)}/upgrade"
        status, answer = await host.request("POST", path, {"new_version": "12"})
        equal("status", status, 200)
        new = answer["replacement_room"]

        async def replaced():
            status, content = await guest.request("GET", f"/v3/rooms/{quote(room_id)}/state/m.room.tombstone/")
            return status == 200 and content["replacement_room"] == new

        await until("the guest sees the tombstone", replaced)
        granted("invite", await host.client.room_invite(new, guest.user_id))
        await guest.invited(new)
        granted("join", await guest.client.join(new))
        await host.sees_member(new, guest.user_id)
        await until("the guest has the new room", lambda: guest.room(new))
        await talk(host, guest, new, "in the new room")
        await asyncio.sleep(0)
