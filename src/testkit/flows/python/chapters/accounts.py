"""Registration, log-in, first sync, profiles.

https://spec.matrix.org/latest/client-server-api/#account-registration-and-management
"""

import asyncio

from device import Device, Person, fresh_name
from report import equal, granted, holds, refused, step


async def play(world):
    """Brings alice (desktop and phone) and bob (laptop) into the world."""
    await step("alice and bob register", register(world), vital=True)
    await step("a taken name is refused", taken(world))
    await step("alice's phone logs in with the password", log_in(world), vital=True)
    await step("a wrong password is refused", wrong_password(world))
    await step("whoami names user and device", whoami(world))
    await step("three devices sync with encryption", start(world), vital=True)
    await step("alice's profile is seen by bob", profile(world))


async def register(world):
    world.alice = Person(world.base_url, world.store_path, "alice")
    world.bob = Person(world.base_url, world.store_path, "bob")
    world.desktop = await world.alice.register("desktop")
    world.laptop = await world.bob.register("laptop")
    world.domain = world.desktop.user_id.split(":", 1)[1]
    equal("user id", world.desktop.user_id, f"@{world.alice.localpart}:{world.domain}")
    holds("a device id", world.desktop.device_id, world.desktop.device_id)


async def taken(world):
    again = Device(world.alice, "again").client
    answer = await again.register(world.alice.localpart, "another")
    refused("registering alice again", answer, "M_USER_IN_USE")


async def log_in(world):
    flows = granted("flows", await world.desktop.client.login_info()).flows
    holds("password log-in is offered", "m.login.password" in flows, flows)
    world.phone = await world.alice.log_in("phone")
    equal("same user", world.phone.user_id, world.desktop.user_id)
    holds("another device", world.phone.device_id != world.desktop.device_id, world.phone.device_id)


async def wrong_password(world):
    answer = await Device(world.alice, "stolen").client.login("wrong", "stolen")
    refused("log-in", answer, "M_FORBIDDEN")


async def whoami(world):
    phone = world.phone
    answer = granted("whoami", await phone.client.whoami())
    equal("whoami", (answer.user_id, answer.device_id), (phone.user_id, phone.device_id))


async def start(world):
    await asyncio.gather(*(device.start() for device in (world.desktop, world.phone, world.laptop)))


async def profile(world):
    world.alice.display_name = fresh_name("Alice")
    world.alice.avatar = f"mxc://{world.domain}/{fresh_name('avatar')}"
    desktop, laptop = world.desktop, world.laptop
    granted("display name", await desktop.client.set_displayname(world.alice.display_name))
    granted("avatar", await desktop.client.set_avatar(world.alice.avatar))
    seen = granted("profile", await laptop.client.get_profile(desktop.user_id))
    equal("profile", (seen.displayname, seen.avatar_url), (world.alice.display_name, world.alice.avatar))
    name = granted("display name alone", await laptop.client.get_displayname(desktop.user_id))
    equal("display name alone", name.displayname, world.alice.display_name)
