// One person's device: an account or a log-in, an SDK client, and what that client has seen.
//
// Owns: making, starting and ending clients. Must never assert anything about rooms.
// https://spec.matrix.org/latest/client-server-api/#account-registration-and-management

import { ClientEvent, createClient, MemoryStore, PendingEventOrdering } from "matrix-js-sdk";
import { randomBytes } from "node:crypto";
import { until } from "./report.js";

const devices = [];

/** A random lower-case word, so that every run meets an unused name. */
export function freshName(stem) {
    return `${stem}-${randomBytes(5).toString("hex")}`;
}

/** Somebody with a name and a password. */
export class Person {
    constructor(baseUrl, stem) {
        this.baseUrl = baseUrl;
        this.localpart = freshName(stem);
        this.password = `pw-${randomBytes(9).toString("hex")}`;
        this.userId = null;
    }

    /** A client without a session. */
    stranger() {
        return createClient({ baseUrl: this.baseUrl });
    }

    /** The auth dictionary that proves the password in user-interactive authentication. */
    passwordAuth(session) {
        return {
            type: "m.login.password",
            identifier: { type: "m.id.user", user: this.localpart },
            password: this.password,
            session,
        };
    }

    /** Logs in on a new device. */
    async logIn(deviceName) {
        const session = await this.stranger().loginRequest({
            type: "m.login.password",
            identifier: { type: "m.id.user", user: this.localpart },
            password: this.password,
            initial_device_display_name: deviceName,
        });
        return new Device(this, deviceName, session);
    }
}

/** A session of a person, with the SDK client that holds it. */
export class Device {
    constructor(person, name, session) {
        this.person = person;
        this.name = name;
        this.userId = session.user_id;
        this.deviceId = session.device_id;
        this.token = session.access_token;
        this.recoveryKey = null;
        /** contents of every m.receipt event this device was sent, in order: { roomId, content } */
        this.receipts = [];
        this.client = this.newClient(new MemoryStore({}));
        devices.push(this);
    }

    newClient(store) {
        const client = createClient({
            baseUrl: this.person.baseUrl,
            userId: this.userId,
            deviceId: this.deviceId,
            accessToken: this.token,
            store,
            cryptoCallbacks: {
                getSecretStorageKey: async ({ keys }) => this.recoveryKey && [Object.keys(keys)[0], this.recoveryKey],
                cacheSecretStorageKey: (_id, _info, key) => {
                    this.recoveryKey = key;
                },
            },
        });
        // Not RoomEvent.Receipt: that also tells of receipts which the SDK makes up for senders of messages.
        client.on(ClientEvent.Event, (event) => {
            if (event.getType() === "m.receipt") this.receipts.push({ roomId: event.getRoomId(), content: event.getContent() });
        });
        return client;
    }

    /** Starts syncing, with encryption unless told otherwise, and waits for the first answer. */
    async start({ crypto = true, lazyLoadMembers = false, initialSyncLimit = 20 } = {}) {
        if (crypto) await this.client.initRustCrypto({ useIndexedDB: false });
        let state = null;
        this.client.on(ClientEvent.Sync, (now) => {
            state = now;
        });
        await this.client.startClient({
            initialSyncLimit,
            lazyLoadMembers,
            pendingEventOrdering: PendingEventOrdering.Detached,
            threadSupport: true,
            pollTimeout: 10_000,
        });
        await until(`${this.name} finishes its first sync`, () => state === "PREPARED" || state === "SYNCING", () => state);
    }

    get crypto() {
        return this.client.getCrypto();
    }

    /** The room as this device knows it, or undefined. */
    room(roomId) {
        return this.client.getRoom(roomId) ?? undefined;
    }

    membership(roomId, userId = this.userId) {
        return this.room(roomId)?.getMember(userId)?.membership;
    }

    /** Waits until this device has seen the membership. */
    async sees(roomId, userId, membership) {
        await until(
            `${this.name} sees ${userId} with membership ${membership}`,
            () => this.membership(roomId, userId) === membership,
            () => this.membership(roomId, userId),
        );
    }

    /** Waits for an event and, when `ready` is given, until that holds for it. */
    async event(roomId, eventId, ready = () => true, what = "arrives") {
        const found = () => this.room(roomId)?.findEventById(eventId);
        return until(
            `${this.name}: event ${eventId} ${what}`,
            () => {
                const event = found();
                return event && !event.status && ready(event) && event;
            },
            () => found()?.toJSON() ?? "no such event",
        );
    }

    /** Waits for a message with this text, decrypted if need be. */
    async reads(roomId, eventId, body) {
        return this.event(roomId, eventId, (event) => event.getContent().body === body, `reads "${body}"`);
    }

    /** Says something in a room; returns the event id. */
    async says(roomId, body, more = {}) {
        const sent = await this.client.sendMessage(roomId, { msgtype: "m.text", body, ...more });
        return sent.event_id;
    }

    /** Sends an event past the SDK, whose queue for the room would stay blocked by a refusal. */
    attempts(roomId, type, content) {
        return this.request("PUT", `/rooms/${encodeURIComponent(roomId)}/send/${type}/${freshName("attempt")}`, undefined, content);
    }

    /** One /sync of its own, beside the client's: only this room. Returns the room's part of the answer or undefined. */
    async rawRoomSync(roomId, roomFilter, section = "join") {
        // Some servers answer a repeated first sync from a cache: so no two are the same.
        const presence = { types: [freshName("none")] };
        const filter = { presence, room: { rooms: [roomId], ...roomFilter } };
        const answer = await this.request("GET", "/sync", { filter: JSON.stringify(filter), timeout: "0" });
        return answer.rooms?.[section]?.[roomId];
    }

    request(method, path, query, body) {
        return this.client.http.authedRequest(method, path, query, body);
    }

    stop() {
        this.client.stopClient();
    }
}

/** Stops every client that was made. */
export function stopAll() {
    for (const device of devices) device.stop();
}
