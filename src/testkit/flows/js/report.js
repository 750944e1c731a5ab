// Steps, expectations and waiting.
//
// Owns: what is printed, the tally, every time limit. Must never know anything of Matrix beyond the shape of its errors.
// One step prints one line: `ok <step>` or `not ok <step>`, the latter followed by what was expected and what was seen.
// A failed step does not stop the flow unless it was marked vital: later steps tell more about the server than silence.

import { isDeepStrictEqual, inspect } from "node:util";

const started = Date.now();
const limitSeconds = Number(process.env.HEARTH_FLOW_SECONDS ?? 300);
const waitSeconds = Number(process.env.HEARTH_FLOW_WAIT_SECONDS ?? 30);
const pollMs = 25;

const tally = { passed: 0, failed: 0 };

/** What was expected and what was seen instead. */
export class Mismatch extends Error {
    constructor(what, expected, seen) {
        super(`${what}\n  expected: ${show(expected)}\n  seen:     ${show(seen)}`);
    }
}

/** A step without which the rest makes no sense failed. */
export class Stopped extends Error {}

/** What was waited for did not come in time. */
export class TooLate extends Error {}

/** Prints one line. The console itself is left to the SDK, which talks a lot; flow.js mutes it. */
export function say(line) {
    process.stdout.write(`${line}\n`);
}

function show(value) {
    return typeof value === "string" ? value : inspect(value, { depth: 6, breakLength: 160, maxArrayLength: 20 });
}

/** Runs one named step and prints its line. `vital` steps end the flow when they fail. */
export async function step(name, run, { vital = false } = {}) {
    const begun = Date.now();
    try {
        await withinDeadline(name, run());
        tally.passed += 1;
        say(`ok ${name}`);
    } catch (error) {
        tally.failed += 1;
        say(`not ok ${name} (after ${((Date.now() - begun) / 1000).toFixed(1)} s)`);
        say(indent(error instanceof Mismatch ? error.message : describe(error)));
        if (vital || error instanceof Stopped) throw new Stopped(name);
    }
}

function describe(error) {
    if (error?.errcode) {
        return `unexpected answer ${error.httpStatus} ${error.errcode}: ${error.data?.error}\n  from: ${error.url}\n${error.stack}`;
    }
    return error?.stack ?? show(error);
}

function indent(text) {
    return text.split("\n").map((line) => `    ${line}`).join("\n");
}

/** Prints the last line and returns the exit code. */
export function finish() {
    say(`js: ${tally.passed} passed, ${tally.failed} failed`);
    return tally.failed === 0 && tally.passed > 0 ? 0 : 1;
}

function remainingMs() {
    return limitSeconds * 1000 - (Date.now() - started);
}

async function withinDeadline(name, promise) {
    let timer;
    const deadline = new Promise((_, reject) => {
        timer = setTimeout(
            () => reject(new Stopped(`the whole flow took more than ${limitSeconds} s, in step: ${name}`)),
            Math.max(remainingMs(), 1),
        );
    });
    try {
        return await Promise.race([promise, deadline]);
    } finally {
        clearTimeout(timer);
    }
}

/** Waits for a promise for as long as `until` waits. */
export async function soon(what, promise) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new TooLate(`waited in vain: ${what}`)), waitSeconds * 1000);
    });
    try {
        return await Promise.race([promise, late]);
    } finally {
        clearTimeout(timer);
    }
}

/** Fails unless both are deeply equal. */
export function equal(what, seen, expected) {
    if (!isDeepStrictEqual(seen, expected)) throw new Mismatch(what, expected, seen);
}

/** Fails unless the condition holds; `seen` says what was looked at. */
export function holds(what, condition, seen) {
    if (!condition) throw new Mismatch(what, "that it holds", seen);
}

/** Fails unless the request is refused with this errcode, or one of several, and this HTTP status. Returns the error. */
export async function refused(what, request, errcode, status) {
    let answer;
    try {
        answer = await request;
    } catch (error) {
        const allowed = [errcode].flat();
        if (!allowed.includes(error.errcode)) throw new Mismatch(`${what}: errcode`, allowed.join(" or "), error.errcode ?? String(error));
        if (status !== undefined) equal(`${what}: status`, error.httpStatus, status);
        return error;
    }
    throw new Mismatch(what, `refused with ${errcode}`, answer);
}

/**
 * Waits until `probe` gives something truthy and returns it.
 * `seen` describes, for the failure, what there was instead.
 */
export async function until(what, probe, seen = probe) {
    const end = Date.now() + Math.min(waitSeconds * 1000, remainingMs());
    for (;;) {
        const found = await probe();
        if (found) return found;
        if (Date.now() >= end) throw new Mismatch(`waited in vain: ${what}`, "that it happens", await seen());
        await new Promise((resolve) => setTimeout(resolve, pollMs));
    }
}
