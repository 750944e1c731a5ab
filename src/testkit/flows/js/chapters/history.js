// Going back over more than 500 events after a gap, forwards again, and the context of one event.
// https://spec.matrix.org/latest/client-server-api/#syncing

import { ClientEvent, MemoryStore } from "matrix-js-sdk";
import { equal, holds, step, until } from "../report.js";

const COUNT = 510;
const PAGE = 50;

const bodies = Array.from({ length: COUNT }, (_, index) => `message ${index + 1}`);

/** Hands its sync token to the next start, as a store on disk does. */
class LastingStore extends MemoryStore {
    async getSavedSyncToken() {
        return this.getSyncToken();
    }
}

/** Makes a room of its own; leaves it out of the world. */
export async function history(world) {
    const long = {};
    await step(`bob writes ${COUNT} messages while a device of alice sleeps`, () => write(world, long));
    await step("back-pagination over the gap finds each exactly once and in order", () => backwards(world, long));
    await step("forward pagination finds the same", () => forwards(world, long));
    await step("the context of an event in the middle", () => context(world, long));
    await step("who joined later sees the history that is shared with them", () => sharedHistory(world, long));
}

async function write({ alice, desktop, laptop }, long) {
    const { room_id } = await desktop.client.createRoom({ preset: "private_chat", name: "Long", invite: [laptop.userId] });
    await laptop.sees(room_id, laptop.userId, "invite");
    await laptop.client.joinRoom(room_id);
    long.roomId = room_id;

    const sleeper = await alice.logIn("sleeper");
    const store = new LastingStore({});
    sleeper.client = sleeper.newClient(store);
    await sleeper.start({ crypto: false });
    await sleeper.sees(room_id, laptop.userId, "join");
    sleeper.stop();

    long.ids = [];
    for (const body of bodies) long.ids.push(await laptop.says(room_id, body));
    equal("as many event ids", new Set(long.ids).size, COUNT);
    long.sleeper = sleeper;
    long.store = store;
}

async function backwards(_world, { sleeper, store, roomId, ids }) {
    const known = store.getSyncToken();
    let since = null;
    sleeper.client.once(ClientEvent.Sync, (_now, _before, answer) => {
        since = answer?.oldSyncToken;
    });
    await sleeper.start({ crypto: false });
    equal("syncing goes on where it ended", since, known);
    const room = sleeper.room(roomId);
    await sleeper.event(roomId, ids.at(-1));
    const live = () => room.getLiveTimeline();
    holds("there is a gap", live().getEvents().length < COUNT, live().getEvents().length);

    let pages = 0;
    while (await sleeper.client.paginateEventTimeline(live(), { backwards: true, limit: PAGE })) {
        pages += 1;
        holds("pagination ends", pages < 3 * COUNT / PAGE, pages);
    }
    const events = live().getEvents();
    equal("the first event of all", events[0].getType(), "m.room.create");
    const messages = events.filter((event) => event.getType() === "m.room.message");
    equal("how many", messages.length, COUNT);
    equal("texts", messages.map((event) => event.getContent().body), bodies);
    equal("events", messages.map((event) => event.getId()), ids);
    await sleeper.client.logout(true);
}

async function forwards({ desktop }, { roomId, ids }) {
    const seen = [];
    let from = null;
    for (let page = 0; page < 3 * COUNT / PAGE; page += 1) {
        const { chunk, end } = await desktop.client.createMessagesRequest(roomId, from, PAGE, "f");
        seen.push(...chunk);
        if (!end || chunk.length === 0) break;
        from = end;
    }
    equal("the first event of all", seen[0].type, "m.room.create");
    equal("each once", new Set(seen.map(({ event_id }) => event_id)).size, seen.length);
    equal("events", seen.filter(({ type }) => type === "m.room.message").map(({ event_id }) => event_id), ids);
}

async function context({ desktop }, { roomId, ids }) {
    const path = `/rooms/${encodeURIComponent(roomId)}/context/${encodeURIComponent(ids[250])}`;
    const answer = await desktop.request("GET", path, { limit: "10" });
    const around = [...answer.events_before].reverse().concat(answer.event, answer.events_after);
    equal("five before and five after", around.map(({ event_id }) => event_id), ids.slice(245, 256));
    const earlier = await desktop.client.createMessagesRequest(roomId, answer.start, 3, "b");
    equal("going on backwards", earlier.chunk.map(({ event_id }) => event_id), ids.slice(242, 245).reverse());
    const later = await desktop.client.createMessagesRequest(roomId, answer.end, 3, "f");
    equal("going on forwards", later.chunk.map(({ event_id }) => event_id), ids.slice(256, 259));
    holds("with state", answer.state.some(({ type }) => type === "m.room.create"), answer.state);
}

async function sharedHistory({ desktop, tablet }, { roomId, ids }) {
    await desktop.client.invite(roomId, tablet.userId);
    await until("carol can join", () => tablet.client.joinRoom(roomId));
    const { chunk } = await tablet.client.createMessagesRequest(roomId, null, 20, "b");
    const messages = chunk.filter(({ type }) => type === "m.room.message").map(({ event_id }) => event_id);
    equal("newest first", messages, ids.slice(-messages.length).reverse());
    holds("some", messages.length >= 10, messages.length);
}
