// Registration, log-in, first sync, profiles.
// https://spec.matrix.org/latest/client-server-api/#account-registration-and-management

import { Device, freshName, Person } from "../device.js";
import { equal, holds, refused, step } from "../report.js";

/** Brings alice (desktop and phone) and bob (laptop) into the world. */
export async function accounts(world) {
    world.alice = new Person(world.baseUrl, "alice");
    world.bob = new Person(world.baseUrl, "bob");

    await step("the server names the versions it speaks", async () => {
        const { versions } = await world.alice.stranger().getVersions();
        holds("a version that the SDK speaks", versions.some((version) => version.startsWith("v1.")), versions);
    }, { vital: true });

    await step("alice registers with user-interactive authentication", async () => {
        world.desktop = await register(world.alice, "desktop");
    }, { vital: true });

    await step("bob registers", async () => {
        world.laptop = await register(world.bob, "laptop");
    }, { vital: true });

    await step("a taken name is refused", async () => {
        await refused("registering alice again", world.alice.stranger().registerRequest({
            username: world.alice.localpart,
            password: "another",
            auth: { type: "m.login.dummy" },
        }), "M_USER_IN_USE", 400);
    });

    await step("alice's phone logs in with the password", async () => {
        const { flows } = await world.alice.stranger().loginFlows();
        holds("password log-in is offered", flows.some(({ type }) => type === "m.login.password"), flows);
        world.phone = await world.alice.logIn("phone");
        equal("same user", world.phone.userId, world.desktop.userId);
        holds("another device", world.phone.deviceId !== world.desktop.deviceId, world.phone.deviceId);
    }, { vital: true });

    await step("a wrong password is refused", async () => {
        const imposter = new Person(world.baseUrl, "nobody");
        imposter.localpart = world.alice.localpart;
        await refused("log-in", imposter.logIn("stolen"), "M_FORBIDDEN", 403);
    });

    await step("whoami names user and device", async () => {
        const { user_id, device_id } = await world.phone.client.whoami();
        equal("whoami", { user_id, device_id }, { user_id: world.phone.userId, device_id: world.phone.deviceId });
    });

    await step("three devices sync with encryption", async () => {
        await world.desktop.start();
        await world.phone.start({ lazyLoadMembers: true });
        await world.laptop.start();
    }, { vital: true });

    await step("capabilities name room versions", async () => {
        const capabilities = await world.desktop.client.fetchCapabilities();
        const versions = capabilities["m.room_versions"];
        holds("the default is among the available", versions?.available?.[versions.default] !== undefined, versions);
    });

    await step("alice's profile is seen by bob", async () => {
        const domain = world.desktop.client.getDomain();
        world.alice.displayName = freshName("Alice");
        world.alice.avatar = `mxc://${domain}/${freshName("avatar")}`;
        await world.desktop.client.setDisplayName(world.alice.displayName);
        await world.desktop.client.setAvatarUrl(world.alice.avatar);
        const { displayname, avatar_url } = await world.laptop.client.getProfileInfo(world.desktop.userId);
        equal("profile", { displayname, avatar_url }, {
            displayname: world.alice.displayName,
            avatar_url: world.alice.avatar,
        });
    });
}

/** Asks, is told how to authenticate, does so with m.login.dummy. Returns the first device. */
export async function register(person, deviceName) {
    const stranger = person.stranger();
    const wanted = {
        username: person.localpart,
        password: person.password,
        initial_device_display_name: deviceName,
    };
    const asked = await stranger.registerRequest(wanted).catch((error) => error);
    equal("an unauthenticated registration is answered with", asked.httpStatus, 401);
    const { session, flows } = asked.data;
    holds("a session is named", typeof session === "string", asked.data);
    holds("a flow of m.login.dummy alone", flows.some(({ stages }) => stages.join() === "m.login.dummy"), flows);
    const done = await stranger.registerRequest({ ...wanted, auth: { type: "m.login.dummy", session } });
    person.userId = done.user_id;
    holds("the user id holds the name", done.user_id.startsWith(`@${person.localpart}:`), done);
    return new Device(person, `${person.localpart}'s ${deviceName}`, done);
}
