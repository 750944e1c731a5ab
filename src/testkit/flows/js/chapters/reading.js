// Receipts (public, private, in a thread), read markers, unread counts, typing.
// https://spec.matrix.org/latest/client-server-api/#receipts

import { equal, holds, step, until } from "../report.js";

/** Works in world.plain; needs world.thread. */
export async function reading(world) {
    await step("a public receipt is seen by the other", () => publicReceipt(world));
    await step("a private receipt is seen by the reader's own devices only", () => privateReceipt(world));
    await step("a receipt in a thread names the thread", () => threadedReceipt(world));
    await step("the fully-read marker is account data of the room", () => fullyRead(world));
    await step("unread and highlight counts rise and fall", () => unread(world));
    await step("typing begins and ends", () => typing(world));
}

/** Receipts for this event by this user that the device was sent. */
function receiptsFor(device, eventId, userId, type) {
    return device.receipts.map(({ content }) => content[eventId]?.[type]?.[userId]).filter(Boolean);
}

async function publicReceipt({ plain, desktop, laptop }) {
    const said = await desktop.says(plain, "Read this");
    const event = await laptop.reads(plain, said, "Read this");
    await laptop.client.sendReadReceipt(event);
    const seen = () => receiptsFor(desktop, said, laptop.userId, "m.read");
    await until("alice sees bob's receipt", () => seen().length > 0, () => desktop.receipts);
    holds("it has a time", Number.isInteger(seen()[0].ts), seen()[0]);
    equal("of the main timeline", seen()[0].thread_id, "main");
    equal("read up to", desktop.room(plain).getEventReadUpTo(laptop.userId, true), said);
}

async function privateReceipt({ plain, desktop, phone, laptop }) {
    const said = await laptop.says(plain, "Secretly read");
    const event = await desktop.reads(plain, said, "Secretly read");
    await desktop.client.sendReadReceipt(event, "m.read.private");
    const seen = () => receiptsFor(phone, said, desktop.userId, "m.read.private");
    await until("the phone sees it", () => seen().length > 0, () => phone.receipts);
    // Whatever was to reach bob before this message has reached him once he reads it.
    const fence = await desktop.says(plain, "fence");
    await laptop.reads(plain, fence, "fence");
    equal("what bob was sent", receiptsFor(laptop, said, desktop.userId, "m.read.private"), []);
    equal("nor disguised as public", receiptsFor(laptop, said, desktop.userId, "m.read"), []);
}

async function threadedReceipt({ plain, desktop, laptop, thread: { root, replies } }) {
    const last = replies.at(-1);
    const event = laptop.room(plain).getThread(root).findEventById(last);
    holds("bob's thread holds alice's reply", event, last);
    await laptop.client.sendReadReceipt(event);
    const seen = () => receiptsFor(desktop, last, laptop.userId, "m.read");
    await until("alice sees it", () => seen().length > 0, () => desktop.receipts);
    equal("its thread", seen()[0].thread_id, root);
}

async function fullyRead({ plain, desktop, phone, laptop }) {
    const said = await laptop.says(plain, "Up to here");
    const event = await desktop.reads(plain, said, "Up to here");
    await desktop.client.setRoomReadMarkers(plain, said, event);
    const marker = () => phone.room(plain).getAccountData("m.fully_read")?.getContent().event_id;
    await until("the phone sees the marker", () => marker() === said, marker);
    const seen = () => receiptsFor(laptop, said, desktop.userId, "m.read");
    await until("bob sees the receipt sent with it", () => seen().length > 0, () => laptop.receipts);
}

async function unread({ plain, desktop, laptop }) {
    const counts = async () => {
        const { unread_notifications } = await laptop.rawRoomSync(plain, { timeline: { limit: 1 } });
        return [unread_notifications?.notification_count, unread_notifications?.highlight_count];
    };
    const becomes = (expected) => until(
        `counts become ${expected}`,
        async () => (await counts()).join() === expected.join(),
        counts,
    );
    const read = async (id, body) => laptop.client.sendReadReceipt(await laptop.reads(plain, id, body), "m.read", true);

    await read(await desktop.says(plain, "zero"), "zero");
    await becomes([0, 0]);
    await desktop.says(plain, "one");
    await becomes([1, 0]);
    const mention = await desktop.says(plain, "two, bob", { "m.mentions": { user_ids: [laptop.userId] } });
    await becomes([2, 1]);
    const live = laptop.room(plain);
    await laptop.reads(plain, mention, "two, bob");
    await until("bob's client counts the same", () => live.getUnreadNotificationCount("total") === 2
        && live.getUnreadNotificationCount("highlight") === 1, () => live.getUnreadNotificationCount("total"));
    await read(mention, "two, bob");
    await becomes([0, 0]);
    await laptop.says(plain, "my own words");
    await becomes([0, 0]);
}

async function typing({ plain, desktop, laptop }) {
    const alice = () => laptop.room(plain).getMember(desktop.userId).typing;
    await desktop.client.sendTyping(plain, true, 30_000);
    await until("bob sees alice typing", alice, alice);
    await desktop.client.sendTyping(plain, false, 0);
    await until("bob sees her stop", () => !alice(), alice);
}
