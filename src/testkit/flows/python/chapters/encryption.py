"""End-to-end encryption: an encrypted room, verification by emoji, keys for a new device.

nio has no cross-signing and no backup on the server; those are in the other flow.
https://spec.matrix.org/latest/client-server-api/#end-to-end-encryption
"""

import os

from nio import MegolmEvent, RoomMessageText, RoomPreset
from report import equal, granted, holds, step, until

from chapters.rooms import joins, made

ENCRYPTED = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}


async def play(world):
    """Makes world.secret, an encrypted room; leaves world.restored, alice's third device, logged in."""
    await step("bob joins an encrypted room", encrypted_room(world), vital=True)
    await step("devices know each other's keys", device_keys(world))
    await step("encrypted messages go both ways, to every device", secrets(world))
    await step("an encrypted edit is related in clear", encrypted_edit(world))
    await step("alice's devices verify each other by emoji", emoji_between(world.desktop, world.phone))
    await step("alice and bob verify each other by emoji", emoji_between(world.desktop, world.laptop))
    await step("a new device asks a trusting one for an old room key", key_request(world))
    await step("a new device imports exported keys and reads the old messages", import_keys(world))
    await step("the new device takes part", new_device_speaks(world))


async def encrypted_room(world):
    desktop, phone, laptop = world.desktop, world.phone, world.laptop
    world.secret = await made(
        desktop,
        preset=RoomPreset.trusted_private_chat,
        name="Secret",
        invite=[laptop.user_id],
        initial_state=[ENCRYPTED],
    )
    await laptop.invited(world.secret)
    await joins(laptop, world.secret, witness=desktop)
    for device in (desktop, phone, laptop):
        await until(
            f"{device.name} knows that it is encrypted",
            lambda: device.room(world.secret) and device.room(world.secret).encrypted,
        )


def known(device, user_id):
    """Ids of the user's devices that the device knows and that are not deleted."""
    return {other.id for other in device.client.device_store.active_user_devices(user_id)}


async def device_keys(world):
    desktop, phone, laptop = world.desktop, world.phone, world.laptop
    alices = {desktop.device_id, phone.device_id}
    await until(
        "bob knows alice's two devices",
        lambda: alices <= known(laptop, desktop.user_id),
        lambda: known(laptop, desktop.user_id),
    )
    seen = laptop.client.device_store[desktop.user_id][desktop.device_id]
    equal("fingerprint", seen.ed25519, desktop.client.olm.account.identity_keys["ed25519"])
    for device in (desktop, phone):
        await until(
            f"{device.name} knows bob's device", lambda: laptop.device_id in known(device, laptop.user_id)
        )
    status, counts = await desktop.request("POST", "/v3/keys/upload", {})
    equal("status", status, 200)
    holds("one-time keys are stocked", counts["one_time_key_counts"].get("signed_curve25519", 0) > 0, counts)


async def secrets(world):
    everywhere = (world.desktop, world.phone, world.laptop)
    world.old_secrets = {}
    bodies = ("the key is under the mat", "the red one", "which mat?")
    for device, body in zip(everywhere, bodies):
        event_id = await device.says(world.secret, body)
        for reader in everywhere:
            event = await reader.reads(world.secret, event_id, body)
            holds("it was encrypted", event.decrypted, event)
        raw = await world.laptop.fetch_event(world.secret, event_id)
        equal("what the server holds", raw["type"], "m.room.encrypted")
        holds("no clear text there", "body" not in raw["content"], raw)
        world.old_secrets[event_id] = body


async def encrypted_edit(world):
    desktop, laptop = world.desktop, world.laptop
    original = await desktop.says(world.secret, "ten o'clock")
    edit = await desktop.says(
        world.secret,
        "* eleven o'clock",
        **{
            "m.new_content": {"msgtype": "m.text", "body": "eleven o'clock"},
            "m.relates_to": {"rel_type": "m.replace", "event_id": original},
        },
    )
    await laptop.reads(world.secret, edit, "* eleven o'clock")
    related = [event.event_id async for event in laptop.client.room_get_event_relations(world.secret, original)]
    equal("the server relates what it cannot read", related, [edit])


async def emoji_between(asker, asked):
    other = asker.client.device_store[asked.user_id][asked.device_id]
    granted("start", await asker.client.start_key_verification(other))
    (transaction,) = [
        sas.transaction_id
        for sas in asker.client.key_verifications.values()
        if (sas.other_olm_device.user_id, sas.other_olm_device.id) == (asked.user_id, asked.device_id)
    ]
    sides = (asker, asked)
    await until("the other side sees the start", lambda: transaction in asked.client.key_verifications)
    granted("accept", await asked.client.accept_key_verification(transaction))
    processes = [device.client.key_verifications[transaction] for device in sides]
    await until(
        "both have exchanged keys",
        lambda: all(sas.established_sas for sas in processes),
        lambda: [(sas.state, sas.cancel_reason) for sas in processes],
    )
    shown = [sas.get_emoji() for sas in processes]
    equal("seven emoji", len(shown[0]), 7)
    equal("the same on both sides", shown[0], shown[1])
    for device in sides:
        granted("confirmation", await device.client.confirm_short_auth_string(transaction))
    await until(
        "both are done",
        lambda: all(sas.verified for sas in processes),
        lambda: [(sas.state, sas.cancel_reason) for sas in processes],
    )
    for device, peer in (sides, sides[::-1]):
        seen = device.client.device_store[peer.user_id][peer.device_id]
        holds(f"{device.name} trusts {peer.name}", seen.verified, seen)


async def key_request(world):
    desktop, alice = world.desktop, world.alice
    world.restored = await alice.log_in("restored")
    restored = world.restored
    await restored.start()
    event_id, body = next(iter(world.old_secrets.items()))
    event = granted("event", await restored.client.room_get_event(world.secret, event_id)).event
    holds("without the key it cannot be read", isinstance(event, MegolmEvent), event)
    event.room_id = world.secret
    # nio answers requests of devices that it trusts and has an Olm session with, and believes answers of such.
    await until("the desktop knows the device", lambda: restored.device_id in known(desktop, restored.user_id))
    desktop.client.verify_device(desktop.client.device_store[restored.user_id][restored.device_id])
    await until("the device knows the desktop", lambda: desktop.device_id in known(restored, desktop.user_id))
    restored.client.verify_device(restored.client.device_store[desktop.user_id][desktop.device_id])
    fence = await desktop.says(world.secret, "welcome, new device")
    await restored.reads(world.secret, fence, "welcome, new device")
    granted("request", await restored.client.request_room_key(event))

    def decrypted():
        try:
            return restored.client.decrypt_event(event)
        except Exception:
            return None

    clear = await until("the key arrives", decrypted)
    equal("text", clear.body, body)


async def import_keys(world):
    desktop, restored = world.desktop, world.restored
    path = os.path.join(world.store_path, "keys.txt")
    await desktop.client.export_keys(path, "a passphrase", count=1000)
    await restored.client.import_keys(path, "a passphrase")
    page = granted("messages", await restored.client.room_messages(world.secret, limit=100))
    clear = {event.event_id: event.body for event in page.chunk if isinstance(event, RoomMessageText)}
    for event_id, body in world.old_secrets.items():
        equal("an old message", clear.get(event_id), body)


async def new_device_speaks(world):
    desktop, laptop, restored = world.desktop, world.laptop, world.restored
    for device in (desktop, laptop):
        await until(
            f"{device.name} is told of the new device",
            lambda: restored.device_id in known(device, restored.user_id),
            lambda: known(device, restored.user_id),
        )
    asked = await laptop.says(world.secret, "is that you?")
    await restored.reads(world.secret, asked, "is that you?")
    said = await restored.says(world.secret, "it is me")
    for device in (desktop, laptop):
        await device.reads(world.secret, said, "it is me")
