"""The list of devices, renaming, deletion with authentication, log-out.

https://spec.matrix.org/latest/client-server-api/#client-authentication
"""

from nio import DeleteDevicesAuthResponse
from report import equal, granted, holds, refused, step, until

from chapters.encryption import known


async def play(world):
    """Ends world.restored and world.phone."""
    await step("alice's devices are listed and renamed", listed(world))
    await step("deleting a device takes the password", remove(world))
    await step("bob's client learns that the device is gone", learned(world))
    await step("log-out refuses the token from then on", log_out(world))
    await step("a token that never was is refused", unknown_token(world))


async def names(device):
    """Device ids and their display names."""
    devices = granted("devices", await device.client.devices()).devices
    return {other.id: other.display_name for other in devices}


async def listed(world):
    desktop, phone, restored = world.desktop, world.phone, world.restored
    expected = {device.device_id: device.name for device in (desktop, phone, restored)}
    equal("devices", await names(desktop), expected)
    granted("renaming", await desktop.client.update_device(phone.device_id, {"display_name": "old phone"}))
    equal("renamed", (await names(desktop))[phone.device_id], "old phone")


async def remove(world):
    desktop, restored = world.desktop, world.restored
    asked = await desktop.client.delete_devices([restored.device_id])
    holds("authentication is asked for", isinstance(asked, DeleteDevicesAuthResponse), asked)
    holds("by password", {"stages": ["m.login.password"]} in asked.flows, asked.flows)
    await restored.stop()
    auth = world.alice.password_auth(asked.session)
    granted("deletion", await desktop.client.delete_devices([restored.device_id], auth))
    refused("its token", await restored.request("GET", "/v3/account/whoami"), "M_UNKNOWN_TOKEN")


async def learned(world):
    laptop, restored = world.laptop, world.restored
    await until(
        "the device is off bob's list",
        lambda: restored.device_id not in known(laptop, restored.user_id),
        lambda: known(laptop, restored.user_id),
    )


async def log_out(world):
    desktop, phone = world.desktop, world.phone
    await phone.stop()
    granted("log-out", await phone.client.logout())
    refused("its token", await phone.request("GET", "/v3/account/whoami"), "M_UNKNOWN_TOKEN")
    refused("its sync", await phone.request("GET", "/v3/sync"), "M_UNKNOWN_TOKEN")
    equal("devices left", list(await names(desktop)), [desktop.device_id])


async def unknown_token(world):
    phone = world.phone
    path = "/v3/account/whoami"
    refused("whoami", await phone.request("GET", path, token="never"), "M_UNKNOWN_TOKEN")
    refused("no token", await phone.request("GET", path, token=None), "M_MISSING_TOKEN")
