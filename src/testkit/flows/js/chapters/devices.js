// The list of devices, renaming, deletion with authentication, log-out.
// https://spec.matrix.org/latest/client-server-api/#client-authentication

import { equal, holds, refused, step, until } from "../report.js";

/** Ends world.restored and world.phone. */
export async function devices(world) {
    await step("alice's devices are listed and renamed", () => list(world));
    await step("deleting a device takes the password", () => remove(world));
    await step("bob's client learns that the device is gone", () => learned(world));
    await step("log-out refuses the token from then on", () => logOut(world));
    await step("a token that never was is refused", async () => {
        const { phone } = world;
        phone.client.setAccessToken("never");
        await refused("whoami", phone.client.whoami(), "M_UNKNOWN_TOKEN", 401);
        phone.client.http.opts.accessToken = undefined;
        await refused("no token", phone.client.whoami(), "M_MISSING_TOKEN", 401);
    });
}

async function list({ desktop, phone, restored }) {
    const named = async () => Object.fromEntries((await desktop.client.getDevices()).devices
        .map(({ device_id, display_name }) => [device_id, display_name]));
    equal("devices", await named(), {
        [desktop.deviceId]: "desktop",
        [phone.deviceId]: "phone",
        ...(restored && { [restored.deviceId]: "restored" }),
    });
    await desktop.client.setDeviceDetails(phone.deviceId, { display_name: "old phone" });
    const one = await desktop.client.getDevice(phone.deviceId);
    equal("renamed", one.display_name, "old phone");
    holds("when it was last seen", Number.isInteger(one.last_seen_ts), one);
    await refused("no such device", desktop.client.getDevice("NOTHERE"), "M_NOT_FOUND", 404);
}

async function remove({ alice, desktop, restored }) {
    const asked = await desktop.client.deleteMultipleDevices([restored.deviceId]).catch((error) => error);
    equal("without authentication", asked.httpStatus, 401);
    holds("the password is asked for", asked.data.flows.some(({ stages }) => stages.join() === "m.login.password"), asked.data);
    await refused("with a wrong password", desktop.client.deleteMultipleDevices([restored.deviceId], {
        ...alice.passwordAuth(asked.data.session),
        password: "wrong",
    }), "M_FORBIDDEN", 401);
    restored.stop();
    await desktop.client.deleteMultipleDevices([restored.deviceId], alice.passwordAuth(asked.data.session));
    await refused("its token", restored.client.whoami(), "M_UNKNOWN_TOKEN", 401);
}

async function learned({ laptop, restored }) {
    const known = async () => [...(await laptop.crypto.getUserDeviceInfo([restored.userId])).get(restored.userId).keys()];
    await until("the device is off bob's list", async () => !(await known()).includes(restored.deviceId), known);
}

async function logOut({ desktop, phone }) {
    await phone.client.logout(true);
    phone.client.setAccessToken(phone.token);
    await refused("its token", phone.client.whoami(), "M_UNKNOWN_TOKEN", 401);
    const { devices: left } = await desktop.client.getDevices();
    equal("devices left", left.map(({ device_id }) => device_id), [desktop.deviceId]);
    equal("the desktop goes on", (await desktop.client.whoami()).device_id, desktop.deviceId);
}
