// Rooms, invitations, membership, aliases, the public directory.
// https://spec.matrix.org/latest/client-server-api/#room-membership

import { freshName, Person } from "../device.js";
import { equal, holds, refused, step, until } from "../report.js";
import { register } from "./accounts.js";

/** Makes world.plain: a room without encryption with alice and bob in it. */
export async function rooms(world) {
    await step("alice makes a room and invites bob", async () => {
        const { desktop, phone, laptop } = world;
        const { room_id } = await desktop.client.createRoom({
            preset: "private_chat",
            name: "Plain",
            topic: "Nothing secret",
            invite: [laptop.userId],
        });
        world.plain = room_id;
        await laptop.sees(room_id, laptop.userId, "invite");
        equal("inviter", laptop.room(room_id).getDMInviter() ?? laptop.room(room_id).getMember(laptop.userId).events.member.getSender(), desktop.userId);
        equal("the invite says the room's name", laptop.room(room_id).name, "Plain");
        await phone.sees(room_id, phone.userId, "join");
    }, { vital: true });

    await step("bob accepts", async () => {
        const { desktop, phone, laptop } = world;
        await laptop.client.joinRoom(world.plain);
        for (const device of [desktop, phone, laptop]) await device.sees(world.plain, laptop.userId, "join");
        const { joined } = await desktop.client.getJoinedRoomMembers(world.plain);
        equal("joined members", Object.keys(joined).sort(), [desktop.userId, laptop.userId].sort());
        const { joined_rooms } = await laptop.client.getJoinedRooms();
        equal("bob's rooms", joined_rooms, [world.plain]);
    }, { vital: true });

    await step("bob sees alice's profile in the room, and its change", async () => {
        const { desktop, laptop } = world;
        const member = () => laptop.room(world.plain).getMember(desktop.userId);
        equal("display name", member().rawDisplayName, world.alice.displayName);
        equal("avatar", member().getMxcAvatarUrl(), world.alice.avatar);
        const changed = freshName("Alice");
        await desktop.client.setDisplayName(changed);
        await until("the changed name reaches bob", () => member().rawDisplayName === changed, () => member().rawDisplayName);
    });

    await step("bob rejects an invitation", async () => {
        const { desktop, laptop } = world;
        const { room_id } = await desktop.client.createRoom({ preset: "private_chat", invite: [laptop.userId] });
        await laptop.sees(room_id, laptop.userId, "invite");
        await laptop.client.leave(room_id);
        await desktop.sees(room_id, laptop.userId, "leave");
        await refused("bob sends after all", laptop.attempts(room_id, "m.room.message", { msgtype: "m.text", body: "hello?" }), "M_FORBIDDEN", 403);
    });

    await step("state events are sent, seen and read back", async () => {
        const { desktop, laptop } = world;
        await desktop.client.setRoomTopic(world.plain, "Weather");
        const topic = () => laptop.room(world.plain).currentState.getStateEvents("m.room.topic", "")?.getContent().topic;
        await until("the topic reaches bob", () => topic() === "Weather", topic);
        equal("read back", (await laptop.client.getStateEvent(world.plain, "m.room.topic", "")).topic, "Weather");
        await refused("bob may not set the name", laptop.client.setRoomName(world.plain, "Mine"), "M_FORBIDDEN", 403);
        await refused("no such state", laptop.client.getStateEvent(world.plain, "org.example.none", ""), "M_NOT_FOUND", 404);
        const types = (await laptop.client.roomState(world.plain)).map(({ type }) => type);
        for (const type of ["m.room.create", "m.room.power_levels", "m.room.join_rules", "m.room.history_visibility"]) {
            holds(`full state holds ${type}`, types.includes(type), types);
        }
    });

    await step("aliases and the public directory lead to a room", () => directory(world));
    await step("kick, ban, unban, leave and forget", () => membership(world));
}

async function directory({ desktop, laptop }) {
    const domain = desktop.client.getDomain();
    const [first, second] = [freshName("market"), freshName("square")];
    const { room_id } = await desktop.client.createRoom({
        preset: "public_chat",
        visibility: "public",
        name: `Market ${first}`,
        room_alias_name: first,
    });
    const found = await laptop.client.getRoomIdForAlias(`#${first}:${domain}`);
    equal("alias leads to the room", found.room_id, room_id);
    holds("servers that know it are named", found.servers.includes(domain), found);

    await desktop.client.createAlias(`#${second}:${domain}`, room_id);
    const { aliases } = await desktop.client.getLocalAliases(room_id);
    equal("the room's aliases", aliases.sort(), [`#${first}:${domain}`, `#${second}:${domain}`].sort());
    await refused("an alias in use", desktop.client.createAlias(`#${second}:${domain}`, room_id), "M_UNKNOWN", 409);

    const { visibility } = await laptop.client.getRoomDirectoryVisibility(room_id);
    equal("visibility", visibility, "public");
    await refused("bob may not change it", laptop.client.setRoomDirectoryVisibility(room_id, "private"), "M_FORBIDDEN", 403);
    const listed = async () => (await laptop.client.publicRooms({ filter: { generic_search_term: first } })).chunk;
    const entry = (await until("the room is listed", async () => (await listed()).length === 1 && listed(), listed))[0];
    equal("directory entry", {
        room_id: entry.room_id,
        name: entry.name,
        canonical_alias: entry.canonical_alias,
        num_joined_members: entry.num_joined_members,
    }, { room_id, name: `Market ${first}`, canonical_alias: `#${first}:${domain}`, num_joined_members: 1 });

    await laptop.client.joinRoom(`#${second}:${domain}`);
    await desktop.sees(room_id, laptop.userId, "join");

    await desktop.client.deleteAlias(`#${second}:${domain}`);
    await refused("a deleted alias", laptop.client.getRoomIdForAlias(`#${second}:${domain}`), "M_NOT_FOUND", 404);
    await desktop.client.setRoomDirectoryVisibility(room_id, "private");
    await until("the room is no longer listed", async () => (await listed()).length === 0, listed);
}

/** Also leaves carol, a third account whose device never starts, in the world: later chapters need a silent member. */
async function membership(world) {
    const { desktop, laptop } = world;
    world.carol = new Person(world.baseUrl, "carol");
    world.tablet = await register(world.carol, "tablet");
    const { tablet } = world;
    const { room_id } = await desktop.client.createRoom({ preset: "public_chat", name: "Doors" });

    await laptop.client.joinRoom(room_id);
    await tablet.client.joinRoom(room_id);
    await desktop.sees(room_id, laptop.userId, "join");
    await desktop.sees(room_id, tablet.userId, "join");

    await refused("bob may not kick", laptop.client.kick(room_id, tablet.userId), "M_FORBIDDEN", 403);
    await desktop.client.kick(room_id, laptop.userId, "too loud");
    await laptop.sees(room_id, laptop.userId, "leave");
    const kicked = laptop.room(room_id).getMember(laptop.userId).events.member;
    equal("who kicked and why", [kicked.getSender(), kicked.getContent().reason], [desktop.userId, "too loud"]);

    await desktop.client.ban(room_id, laptop.userId, "again");
    await desktop.sees(room_id, laptop.userId, "ban");
    await refused("the banned bob may not join", laptop.client.joinRoom(room_id), ["M_FORBIDDEN", "M_BAD_STATE"], 403);
    await desktop.client.unban(room_id, laptop.userId);
    await desktop.sees(room_id, laptop.userId, "leave");

    await laptop.client.joinRoom(room_id);
    await desktop.sees(room_id, laptop.userId, "join");
    await laptop.client.leave(room_id);
    await desktop.sees(room_id, laptop.userId, "leave");
    await laptop.client.forget(room_id);
    await refused("a forgotten room", laptop.client.createMessagesRequest(room_id, null, 5, "b"), "M_FORBIDDEN", 403);
    const left = await laptop.request("GET", "/sync", {
        filter: JSON.stringify({ room: { include_leave: true, rooms: [room_id] } }),
        timeout: "0",
    });
    equal("a forgotten room in /sync", left.rooms?.leave?.[room_id], undefined);
}
