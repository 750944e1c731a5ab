// Messages, edits, reactions, redactions, threads, in a room without encryption.
// https://spec.matrix.org/latest/client-server-api/#forming-relationships-between-events

import { ThreadFilterType } from "matrix-js-sdk";
import { equal, holds, refused, step, until } from "../report.js";

/** Leaves world.thread: { root, replies } for the chapter on receipts. */
export async function messages(world) {
    await step("messages go both ways", () => bothWays(world), { vital: true });
    await step("a repeated transaction id sends once", () => sendsOnce(world));
    await step("an edit replaces the text for everybody", () => edit(world));
    await step("reactions are counted, and taken back", () => reactions(world));
    await step("a redaction empties the message", () => redaction(world));
    await step("a thread grows from a message", () => thread(world));
    await step("the list of threads names it, by everybody and by participation", () => threadList(world));
    await step("replies can be told apart from threads", () => richReply(world));
}

async function bothWays({ plain, desktop, phone, laptop }) {
    const question = await desktop.says(plain, "How are you?");
    for (const device of [desktop, phone, laptop]) await device.reads(plain, question, "How are you?");
    const answer = await laptop.says(plain, "Fine, thank you.");
    for (const device of [desktop, phone, laptop]) await device.reads(plain, answer, "Fine, thank you.");

    const timeline = desktop.room(plain).getLiveTimeline().getEvents().map((event) => event.getId());
    holds("in the order of sending", timeline.indexOf(question) < timeline.indexOf(answer), timeline);
    const sender = (await laptop.event(plain, question)).getSender();
    equal("sender", sender, desktop.userId);
}

async function sendsOnce({ plain, desktop, laptop }) {
    const transaction = `once-${Date.now()}`;
    const path = `/rooms/${encodeURIComponent(plain)}/send/m.room.message/${transaction}`;
    const content = { msgtype: "m.text", body: "only once" };
    const first = await desktop.request("PUT", path, undefined, content);
    const second = await desktop.request("PUT", path, undefined, content);
    equal("both answers", second.event_id, first.event_id);
    const own = await desktop.client.fetchRoomEvent(plain, first.event_id);
    equal("the sender's device is told its transaction id", own.unsigned?.transaction_id, transaction);
    const others = await laptop.client.fetchRoomEvent(plain, first.event_id);
    equal("nobody else is", others.unsigned?.transaction_id, undefined);
}

async function edit({ plain, desktop, laptop }) {
    const original = await desktop.says(plain, "We meet at noon");
    await laptop.reads(plain, original, "We meet at noon");
    const replacement = await desktop.says(plain, "* We meet at one", {
        "m.new_content": { msgtype: "m.text", body: "We meet at one" },
        "m.relates_to": { rel_type: "m.replace", event_id: original },
    });
    await laptop.reads(plain, original, "We meet at one");
    const fetched = await laptop.client.fetchRoomEvent(plain, original);
    equal("the original bundles its replacement", fetched.unsigned?.["m.relations"]?.["m.replace"]?.event_id, replacement);
    const { events } = await laptop.client.relations(plain, original, "m.replace", "m.room.message");
    equal("relations list it", events.map((event) => event.getId()), [replacement]);
}

async function reactions({ plain, desktop, laptop }) {
    const subject = await desktop.says(plain, "Cake?");
    await laptop.reads(plain, subject, "Cake?");
    const content = (key) => ({ "m.relates_to": { rel_type: "m.annotation", event_id: subject, key } });
    const react = async (device, key) => (await device.client.sendEvent(plain, "m.reaction", content(key))).event_id;
    const likes = [await react(laptop, "👍"), await react(desktop, "👍")];
    const cake = await react(laptop, "🍰");
    await refused("the same reaction twice", laptop.attempts(plain, "m.reaction", content("🍰")), "M_DUPLICATE_ANNOTATION", 400);

    const counted = () => Object.fromEntries(
        (desktop.room(plain).relations.getChildEventsForEvent(subject, "m.annotation", "m.reaction")
            ?.getSortedAnnotationsByKey() ?? []).map(([key, events]) => [key, events.size]),
    );
    await until("alice counts three reactions", () => counted()["👍"] === 2 && counted()["🍰"] === 1, counted);
    const ids = async () => (await desktop.client.relations(plain, subject, "m.annotation", "m.reaction")).events
        .map((event) => event.getId());
    equal("relations list them, newest first", await ids(), [cake, likes[1], likes[0]]);

    await laptop.client.redactEvent(plain, cake);
    await until("the reaction is gone", () => counted()["🍰"] === undefined || counted()["🍰"] === 0, counted);
    equal("relations no longer list it", await ids(), [likes[1], likes[0]]);
}

async function redaction({ plain, desktop, laptop }) {
    const regretted = await laptop.says(plain, "My password is hunter2");
    await desktop.reads(plain, regretted, "My password is hunter2");
    const { event_id } = await laptop.client.redactEvent(plain, regretted, undefined, { reason: "oops" });
    const gone = await desktop.event(plain, regretted, (event) => event.isRedacted(), "is redacted");
    equal("its content", gone.getContent(), {});
    const fetched = await desktop.client.fetchRoomEvent(plain, regretted);
    equal("content at the server", fetched.content, {});
    equal("redacted because", fetched.unsigned?.redacted_because?.event_id, event_id);
    const others = await desktop.says(plain, "mine");
    await laptop.reads(plain, others, "mine");
    const path = `/rooms/${encodeURIComponent(plain)}/redact/${encodeURIComponent(others)}/bob-tries`;
    await refused("bob redacts alice's message", laptop.request("PUT", path, undefined, {}), "M_FORBIDDEN", 403);
}

async function thread(world) {
    const { plain, desktop, laptop } = world;
    const root = await desktop.says(plain, "Where shall we go on holiday?");
    await laptop.reads(plain, root, "Where shall we go on holiday?");
    const replies = [];
    for (const [device, body] of [[laptop, "Norway"], [laptop, "or Iceland"], [desktop, "Portugal"]]) {
        const { event_id } = await device.client.sendMessage(plain, root, { msgtype: "m.text", body });
        replies.push(event_id);
    }
    world.thread = { root, replies };
    for (const device of [desktop, laptop]) {
        const ids = () => device.room(plain).getThread(root)?.events.map((event) => event.getId());
        await until(
            `${device.name} has the thread with its three replies`,
            () => replies.every((id) => ids()?.includes(id)),
            ids,
        );
        const main = device.room(plain).getLiveTimeline().getEvents().map((event) => event.getId());
        equal("replies in the main timeline", main.filter((id) => replies.includes(id)), []);
    }
    const { events } = await laptop.client.relations(plain, root, "m.thread", "m.room.message");
    equal("relations list the replies, newest first", events.map((event) => event.getId()), [...replies].reverse());
    const forwards = await laptop.client.relations(plain, root, "m.thread", null, { dir: "f", limit: 2 });
    equal("and oldest first, by pages", forwards.events.map((event) => event.getId()), replies.slice(0, 2));
    const rest = await laptop.client.relations(plain, root, "m.thread", null, { dir: "f", limit: 2, from: forwards.nextBatch });
    equal("second page", rest.events.map((event) => event.getId()), replies.slice(2));
    const summary = (await laptop.client.fetchRoomEvent(plain, root)).unsigned?.["m.relations"]?.["m.thread"];
    equal("the root bundles a summary", {
        count: summary?.count,
        latest: summary?.latest_event?.event_id,
        participated: summary?.current_user_participated,
    }, { count: 3, latest: replies[2], participated: true });
}

async function threadList({ plain, phone, desktop, laptop, thread: { root } }) {
    const lonely = await laptop.says(plain, "Talking to myself");
    await laptop.client.sendMessage(plain, lonely, { msgtype: "m.text", body: "still" });
    const listed = async (device, which) => (await device.client.createThreadListMessagesRequest(plain, null, 20, "b", which))
        .chunk.map(({ event_id }) => event_id).sort();
    equal("all threads", await listed(desktop, ThreadFilterType.All), [root, lonely].sort());
    equal("alice's threads", await listed(desktop, ThreadFilterType.My), [root]);
    await phone.room(plain).createThreadsTimelineSets();
    await phone.room(plain).fetchRoomThreads();
    const known = () => phone.room(plain).getThreads().map(({ id }) => id).sort();
    await until("the phone knows both threads", () => known().join() === [root, lonely].sort().join(), known);
}

async function richReply({ plain, desktop, laptop }) {
    const asked = await desktop.says(plain, "Tea or coffee?");
    const replied = await laptop.says(plain, "Tea", { "m.relates_to": { "m.in_reply_to": { event_id: asked } } });
    const event = await desktop.reads(plain, replied, "Tea");
    equal("replies to", event.replyEventId, asked);
    equal("no thread", event.threadRootId, undefined);
    const { chunk } = await desktop.client.fetchRelations(plain, asked, null);
    equal("a reply is no relation", chunk, []);
}
