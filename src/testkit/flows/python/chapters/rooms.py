"""Rooms, invitations, membership, aliases, the public directory.

https://spec.matrix.org/latest/client-server-api/#room-membership
"""

from device import Person, fresh_name
from nio import RoomMemberEvent, RoomPreset, RoomVisibility
from report import equal, granted, holds, refused, step, until


async def play(world):
    """Makes world.plain: a room without encryption with alice and bob in it."""
    await step("alice makes a room and invites bob", invite(world), vital=True)
    await step("bob accepts", accept(world), vital=True)
    await step("bob sees alice's profile in the room, and its change", member_profile(world))
    await step("bob rejects an invitation", reject(world))
    await step("state events are sent, seen and read back", state(world))
    await step("aliases and the public directory lead to a room", directory(world))
    await step("kick, ban, unban, leave and forget", membership(world))


async def made(device, **wanted):
    """A new room's id, once the device has it."""
    room_id = granted("room", await device.client.room_create(**wanted)).room_id
    await until(f"{device.name} has the new room", lambda: device.room(room_id))
    return room_id


async def joins(device, room, witness=None):
    """Joins by id or alias; waits for the device, and for the witness to see it."""
    room_id = granted("join", await device.client.join(room)).room_id
    if device.client.next_batch:
        await until(f"{device.name} has the room", lambda: device.room(room_id))
    if witness:
        await witness.sees_member(room_id, device.user_id)
    return room_id


async def invite(world):
    desktop, phone, laptop = world.desktop, world.phone, world.laptop
    world.plain = await made(
        desktop, preset=RoomPreset.private_chat, name="Plain", topic="Nothing secret", invite=[laptop.user_id]
    )
    invitation = await laptop.invited(world.plain)
    equal("inviter", invitation.inviter, desktop.user_id)
    equal("the invite says the room's name", invitation.name, "Plain")
    await until("the phone has the room too", lambda: phone.room(world.plain))


async def accept(world):
    desktop, phone, laptop = world.desktop, world.phone, world.laptop
    await joins(laptop, world.plain)
    for device in (desktop, phone, laptop):
        await device.sees_member(world.plain, laptop.user_id)
    members = granted("members", await desktop.client.joined_members(world.plain)).members
    equal("joined members", sorted(member.user_id for member in members), sorted([desktop.user_id, laptop.user_id]))
    equal("bob's rooms", granted("rooms", await laptop.client.joined_rooms()).rooms, [world.plain])


async def member_profile(world):
    desktop, laptop = world.desktop, world.laptop
    member = laptop.room(world.plain).users[desktop.user_id]
    equal("profile", (member.display_name, member.avatar_url), (world.alice.display_name, world.alice.avatar))
    changed = fresh_name("Alice")
    granted("display name", await desktop.client.set_displayname(changed))
    name = lambda: laptop.room(world.plain).users[desktop.user_id].display_name  # noqa: E731
    await until("the changed name reaches bob", lambda: name() == changed, name)


async def reject(world):
    desktop, laptop = world.desktop, world.laptop
    room_id = await made(desktop, preset=RoomPreset.private_chat, invite=[laptop.user_id])
    await laptop.invited(room_id)
    await until("alice sees bob invited", lambda: laptop.user_id in desktop.room(room_id).invited_users)
    granted("leaving", await laptop.client.room_leave(room_id))
    await until("alice sees bob gone", lambda: laptop.user_id not in desktop.room(room_id).invited_users)
    body = {"msgtype": "m.text", "body": "hello?"}
    path = f"/v3/rooms/{room_id}/send/m.room.message/{fresh_name('txn')}"
    refused("bob sends after all", await laptop.request("PUT", path, body), "M_FORBIDDEN")


async def state(world):
    desktop, laptop = world.desktop, world.laptop
    granted("topic", await desktop.client.room_put_state(world.plain, "m.room.topic", {"topic": "Weather"}))
    await until("the topic reaches bob", lambda: laptop.room(world.plain).topic == "Weather")
    answer = granted("topic", await laptop.client.room_get_state_event(world.plain, "m.room.topic"))
    equal("read back", answer.content["topic"], "Weather")
    answer = await laptop.client.room_put_state(world.plain, "m.room.name", {"name": "Mine"})
    refused("bob may not set the name", answer, "M_FORBIDDEN")
    refused("no such state", await laptop.client.room_get_state_event(world.plain, "org.example.none"), "M_NOT_FOUND")
    types = {event["type"] for event in granted("state", await laptop.client.room_get_state(world.plain)).events}
    for kind in ("m.room.create", "m.room.power_levels", "m.room.join_rules", "m.room.history_visibility"):
        holds(f"full state holds {kind}", kind in types, types)


async def directory(world):
    desktop, laptop = world.desktop, world.laptop
    first, second = fresh_name("market"), fresh_name("square")
    other = f"#{second}:{world.domain}"
    room_id = await made(
        desktop,
        preset=RoomPreset.public_chat,
        visibility=RoomVisibility.public,
        name=f"Market {first}",
        alias=first,
    )
    found = granted("alias", await laptop.client.room_resolve_alias(f"#{first}:{world.domain}"))
    equal("alias leads to the room", found.room_id, room_id)
    holds("servers that know it are named", world.domain in found.servers, found)
    granted("second alias", await desktop.client.room_put_alias(other, room_id))
    visibility = granted("visibility", await laptop.client.room_get_visibility(room_id)).visibility
    equal("visibility", visibility, "public")

    async def listed():
        return granted("list", await laptop.client.list_public_rooms(filter_generic_search_term=first)).public_rooms

    (entry,) = await until("the room is listed", listed)
    equal(
        "directory entry",
        (entry.room_id, entry.name, entry.canonical_alias, entry.num_joined_members),
        (room_id, f"Market {first}", f"#{first}:{world.domain}", 1),
    )
    await joins(laptop, other, witness=desktop)
    granted("deleting the alias", await desktop.client.room_delete_alias(other))
    refused("a deleted alias", await laptop.client.room_resolve_alias(other), "M_NOT_FOUND")


async def membership(world):
    """Also leaves carol, a third account whose device never syncs, in the world: a silent member."""
    desktop, laptop = world.desktop, world.laptop
    world.carol = Person(world.base_url, world.store_path, "carol")
    world.tablet = await world.carol.register("tablet")
    tablet = world.tablet
    room_id = await made(desktop, preset=RoomPreset.public_chat, name="Doors")
    await joins(laptop, room_id, witness=desktop)
    await joins(tablet, room_id, witness=desktop)

    refused("bob may not kick", await laptop.client.room_kick(room_id, tablet.user_id), "M_FORBIDDEN")
    granted("kick", await desktop.client.room_kick(room_id, laptop.user_id, "too loud"))
    kicked = await until("bob sees it", lambda: departures(laptop, room_id))
    equal("who and why", (kicked[-1].sender, kicked[-1].content.get("reason")), (desktop.user_id, "too loud"))

    granted("ban", await desktop.client.room_ban(room_id, laptop.user_id, "again"))
    refused("the banned bob may not join", await laptop.client.join(room_id), "M_FORBIDDEN", "M_BAD_STATE")
    banned = await desktop.fetch(f"/v3/rooms/{room_id}/state/m.room.member/{laptop.user_id}")
    equal("membership", (banned["membership"], banned.get("reason")), ("ban", "again"))
    granted("unban", await desktop.client.room_unban(room_id, laptop.user_id))
    await joins(laptop, room_id, witness=desktop)
    granted("leave", await laptop.client.room_leave(room_id))
    await desktop.sees_member(room_id, laptop.user_id, present=False)
    granted("forget", await laptop.client.room_forget(room_id))
    refused("a forgotten room", await laptop.request("GET", f"/v3/rooms/{room_id}/messages?dir=b"), "M_FORBIDDEN")


def departures(device, room_id):
    """Member events by which the device's user was taken out of the room."""
    return [
        event
        for event in device.left.get(room_id, [])
        if isinstance(event, RoomMemberEvent) and event.state_key == device.user_id and event.membership == "leave"
    ]
