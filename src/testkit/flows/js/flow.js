// A whole conversation with a Matrix homeserver, held by matrix-js-sdk with its Rust crypto.
//
// Owns: the order of the chapters. Must never hold steps of its own: those are in chapters/.
// HEARTH_URL is the server's base address; registration must be open (m.login.dummy). Exit code 0: every step passed.
// https://spec.matrix.org/latest/client-server-api/

import { accounts } from "./chapters/accounts.js";
import { devices } from "./chapters/devices.js";
import { encryption } from "./chapters/encryption.js";
import { history } from "./chapters/history.js";
import { messages } from "./chapters/messages.js";
import { reading } from "./chapters/reading.js";
import { rooms } from "./chapters/rooms.js";
import { settings } from "./chapters/settings.js";
import { stopAll } from "./device.js";
import { finish, say, Stopped } from "./report.js";

// What the chapters hand on to each other: people, their devices, rooms.
const world = { baseUrl: (process.env.HEARTH_URL ?? "http://localhost:8008").replace(/\/$/, "") };

// The SDK tells the console of everything it does.
if (!process.env.HEARTH_FLOW_DEBUG) {
    for (const method of ["trace", "debug", "log", "info", "warn", "error"]) console[method] = () => {};
}

// A request that the SDK makes on its own and that fails is worth knowing, but belongs to no step.
process.on("unhandledRejection", (error) => {
    say(`note: in the background: ${error?.errcode ?? ""} ${error?.message ?? error}`);
});

try {
    for (const chapter of [accounts, rooms, messages, reading, settings, history, encryption, devices]) {
        await chapter(world);
    }
} catch (error) {
    if (!(error instanceof Stopped)) throw error;
    say(`stopped: ${error.message}`);
} finally {
    stopAll();
}
process.exit(finish());
