// Account data, tags, push rules, filters, lazy loading of members.
// https://spec.matrix.org/latest/client-server-api/#client-config

import { freshName } from "../device.js";
import { equal, holds, refused, step, until } from "../report.js";

/** Works in world.plain; makes one more room, in which carol is a silent member. */
export async function settings(world) {
    await step("account data reaches the other device", () => accountData(world));
    await step("room account data and tags reach the other device", () => tags(world));
    await step("push rules are there, are changed, and the change is told", () => pushRules(world));
    await step("filters are kept", () => filters(world));
    await step("a filter limits what /sync tells", () => filteredSync(world));
    await step("lazy loading leaves out silent members, until asked for", () => lazyLoading(world));
}

async function accountData({ desktop, phone, laptop }) {
    const type = `org.example.${freshName("colours")}`;
    await desktop.client.setAccountData(type, { favourite: "green" });
    const seen = () => phone.client.getAccountData(type)?.getContent();
    await until("the phone sees it", () => seen()?.favourite === "green", seen);
    equal("from the server", await phone.client.getAccountDataFromServer(type), { favourite: "green" });
    const path = `/user/${encodeURIComponent(desktop.userId)}/account_data/${type}`;
    await refused("bob reads alice's", laptop.request("GET", path), "M_FORBIDDEN", 403);
    equal("what there is none of", await phone.client.getAccountDataFromServer(`${type}.none`), null);
}

async function tags({ plain, desktop, phone }) {
    await desktop.client.setRoomTag(plain, "m.favourite", { order: 0.25 });
    const tagged = () => phone.room(plain).tags["m.favourite"];
    await until("the phone sees the tag", () => tagged()?.order === 0.25, tagged);
    equal("from the server", (await phone.client.getRoomTags(plain)).tags, { "m.favourite": { order: 0.25 } });
    await desktop.client.deleteRoomTag(plain, "m.favourite");
    await until("the phone sees it go", () => !tagged(), tagged);

    const type = "org.example.wallpaper";
    await desktop.client.setRoomAccountData(plain, type, { image: "sea" });
    const seen = () => phone.room(plain).getAccountData(type)?.getContent();
    await until("the phone sees the room's account data", () => seen()?.image === "sea", seen);
}

async function pushRules({ desktop, phone }) {
    const rules = await desktop.client.getPushRules();
    const ids = (kind) => (rules.global[kind] ?? []).map(({ rule_id }) => rule_id);
    for (const id of [".m.rule.master", ".m.rule.suppress_notices", ".m.rule.invite_for_me", ".m.rule.is_user_mention", ".m.rule.reaction"]) {
        holds(`override holds ${id}`, ids("override").includes(id), ids("override"));
    }
    for (const id of [".m.rule.room_one_to_one", ".m.rule.encrypted_room_one_to_one", ".m.rule.message", ".m.rule.encrypted"]) {
        holds(`underride holds ${id}`, ids("underride").includes(id), ids("underride"));
    }
    const word = freshName("word");
    const told = () => phone.client.pushRules?.global.content?.find(({ rule_id }) => rule_id === word);
    await desktop.client.addPushRule("global", "content", word, { pattern: word, actions: ["notify"] });
    await until("the phone is told of the new rule", () => told()?.pattern === word && told().enabled, told);
    await desktop.client.setPushRuleEnabled("global", "content", word, false);
    await until("and that it is off", () => told()?.enabled === false, told);
    await desktop.client.deletePushRule("global", "content", word);
    await until("and that it is gone", () => !told(), told);
}

async function filters({ desktop, laptop }) {
    const definition = { room: { timeline: { limit: 7, types: ["m.room.message"] } } };
    const filter = await desktop.client.createFilter(definition);
    const again = await desktop.client.getFilter(desktop.userId, filter.filterId, false);
    equal("kept", again.getDefinition(), definition);
    const path = `/user/${encodeURIComponent(desktop.userId)}/filter/${filter.filterId}`;
    await refused("bob reads alice's", laptop.request("GET", path), "M_FORBIDDEN", 403);
    await refused("no such filter", desktop.client.getFilter(desktop.userId, "999999", false), "M_NOT_FOUND", 404);
}

async function filteredSync({ plain, desktop, laptop }) {
    const last = await laptop.says(plain, "the last word");
    await desktop.client.setRoomTopic(plain, "Filters");
    await desktop.reads(plain, last, "the last word");
    const answer = await desktop.rawRoomSync(plain, { timeline: { limit: 1, types: ["m.room.message"] }, state: { types: ["m.room.name"] } });
    equal("timeline", answer.timeline.events.map(({ event_id }) => event_id), [last]);
    equal("limited", answer.timeline.limited, true);
    holds("a token to go back from", typeof answer.timeline.prev_batch === "string", answer.timeline);
    equal("state", answer.state.events.map(({ type }) => type), ["m.room.name"]);
}

async function lazyLoading({ desktop, phone, laptop, tablet }) {
    const { room_id } = await desktop.client.createRoom({ preset: "public_chat", name: "Crowd" });
    await laptop.client.joinRoom(room_id);
    await tablet.client.joinRoom(room_id);
    const said = await laptop.says(room_id, "I am the one who speaks");
    await desktop.reads(room_id, said, "I am the one who speaks");
    await phone.reads(room_id, said, "I am the one who speaks");

    const members = async (lazy) => {
        const timeline = { limit: 1, lazy_load_members: lazy };
        const answer = await desktop.rawRoomSync(room_id, { timeline, state: { types: ["m.room.member"], lazy_load_members: lazy } });
        return answer.state.events.map(({ state_key }) => state_key).sort();
    };
    const everybody = [desktop.userId, laptop.userId, tablet.userId].sort();
    equal("without lazy loading", await members(false), everybody);
    const lazily = await members(true);
    holds("the speaker is there", lazily.includes(laptop.userId), lazily);
    holds("the silent one is not", !lazily.includes(tablet.userId), lazily);

    await phone.room(room_id).loadMembersIfNeeded();
    equal("after asking", phone.room(room_id).getJoinedMembers().map(({ userId }) => userId).sort(), everybody);
}
