"""Account data, tags, push rules, filters, lazy loading of members.

https://spec.matrix.org/latest/client-server-api/#client-config
"""

import json
from urllib.parse import quote

from device import fresh_name
from nio import PushNotify, PushRuleKind, PushRulesEvent, RoomPreset, UnknownAccountDataEvent
from report import equal, granted, holds, refused, step, until

from chapters.rooms import joins, made


async def play(world):
    """Works in world.plain; makes one more room, in which carol is a silent member."""
    await step("account data reaches the other device", account_data(world))
    await step("tags reach the other device", tags(world))
    await step("push rules are there, are changed, and the change is told", push_rules(world))
    await step("filters are kept and used", filters(world))
    await step("lazy loading leaves out silent members", lazy_loading(world))


async def account_data(world):
    desktop, phone, laptop = world.desktop, world.phone, world.laptop
    kind, content = f"org.example.{fresh_name('colours')}", {"favourite": "green"}
    path = f"/v3/user/{quote(desktop.user_id)}/account_data/{kind}"
    equal("set", await desktop.request("PUT", path, content), (200, {}))
    await until(
        "the phone sees it",
        lambda: [
            event
            for event in phone.account_data
            if isinstance(event, UnknownAccountDataEvent) and (event.type, event.content) == (kind, content)
        ],
        lambda: phone.account_data[-5:],
    )
    equal("from the server", await phone.fetch(path), content)
    refused("bob reads alice's", await laptop.request("GET", path), "M_FORBIDDEN")
    refused("what there is none of", await phone.request("GET", f"{path}.none"), "M_NOT_FOUND")


async def tags(world):
    desktop, phone = world.desktop, world.phone
    base = f"/v3/user/{quote(desktop.user_id)}/rooms/{quote(world.plain)}/tags"
    equal("set", await desktop.request("PUT", f"{base}/m.favourite", {"order": 0.25}), (200, {}))
    tagged = lambda: phone.room(world.plain).tags  # noqa: E731
    await until("the phone sees the tag", lambda: tagged() == {"m.favourite": {"order": 0.25}}, tagged)
    equal("from the server", await phone.fetch(base), {"tags": {"m.favourite": {"order": 0.25}}})
    equal("deleted", await desktop.request("DELETE", f"{base}/m.favourite"), (200, {}))
    await until("the phone sees it go", lambda: tagged() == {}, tagged)


async def push_rules(world):
    desktop, phone = world.desktop, world.phone
    rules = (await desktop.fetch("/v3/pushrules/"))["global"]
    ids = [rule["rule_id"] for kind in ("override", "underride") for rule in rules[kind]]
    for wanted in (".m.rule.master", ".m.rule.is_user_mention", ".m.rule.message", ".m.rule.encrypted"):
        holds(f"rules hold {wanted}", wanted in ids, ids)
    word = fresh_name("word")

    def told():
        latest = [event for event in phone.account_data if isinstance(event, PushRulesEvent)][-1:]
        return [rule for event in latest for rule in event.global_rules.content if rule.id == word]

    rule = ("global", PushRuleKind.content, word)
    granted("new rule", await desktop.client.set_pushrule(*rule, pattern=word, actions=[PushNotify()]))
    await until("the phone is told of it", lambda: told() and told()[0].enabled, told)
    granted("off", await desktop.client.enable_pushrule(*rule, False))
    await until("and that it is off", lambda: told() and not told()[0].enabled, told)
    granted("deletion", await desktop.client.delete_pushrule(*rule))
    await until("and that it is gone", lambda: not told(), told)


async def filters(world):
    desktop, laptop = world.desktop, world.laptop
    last = await laptop.says(world.plain, "the last word")
    await desktop.reads(world.plain, last, "the last word")
    granted("topic", await desktop.client.room_put_state(world.plain, "m.room.topic", {"topic": "Filters"}))
    room = {"rooms": [world.plain], "timeline": {"limit": 1, "types": ["m.room.message"]}, "state": {"types": []}}
    filter_id = granted("filter", await desktop.client.upload_filter(room=room)).filter_id
    path = f"/v3/user/{quote(desktop.user_id)}/filter/{filter_id}"
    equal("kept", (await desktop.fetch(path))["room"], room)
    refused("bob reads alice's", await laptop.request("GET", path), "M_FORBIDDEN")
    answer = await desktop.fetch("/v3/sync", {"filter": filter_id, "timeout": "0"})
    equal("rooms", list(answer["rooms"]["join"]), [world.plain])
    timeline = answer["rooms"]["join"][world.plain]["timeline"]
    equal("timeline", [event["event_id"] for event in timeline["events"]], [last])
    equal("limited", timeline["limited"], True)
    messages = granted(
        "messages", await desktop.client.room_messages(world.plain, limit=3, message_filter={"types": ["m.room.topic"]})
    )
    equal("kinds in filtered messages", {event.source["type"] for event in messages.chunk}, {"m.room.topic"})


async def lazy_loading(world):
    desktop, laptop, tablet = world.desktop, world.laptop, world.tablet
    room_id = await made(desktop, preset=RoomPreset.public_chat, name="Crowd")
    await joins(laptop, room_id, witness=desktop)
    await joins(tablet, room_id, witness=desktop)
    said = await laptop.says(room_id, "I am the one who speaks")
    await desktop.reads(room_id, said, "I am the one who speaks")

    async def members(lazy):
        answer = await desktop.room_sync(
            room_id,
            {
                "timeline": {"limit": 1, "lazy_load_members": lazy},
                "state": {"types": ["m.room.member"], "lazy_load_members": lazy},
            },
        )
        return {event["state_key"] for event in answer["state"]["events"]}

    everybody = {desktop.user_id, laptop.user_id, tablet.user_id}
    equal("without lazy loading", await members(False), everybody)
    lazily = await members(True)
    holds("the speaker is there", laptop.user_id in lazily, lazily)
    holds("the silent one is not", tablet.user_id not in lazily, lazily)
    answer = await desktop.fetch(
        f"/v3/rooms/{quote(room_id)}/messages",
        {"dir": "b", "limit": "1", "filter": json.dumps({"lazy_load_members": True})},
    )
    equal("members with messages", {event["state_key"] for event in answer.get("state", [])}, {laptop.user_id})
    full = await desktop.fetch(f"/v3/rooms/{quote(room_id)}/members", {"membership": "join"})
    equal("all members", {event["state_key"] for event in full["chunk"]}, everybody)
