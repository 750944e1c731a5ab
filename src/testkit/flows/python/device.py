"""One person's device: an account or a log-in, a nio client, and what that client has seen.

Owns: making, starting and ending clients. Must never assert anything about rooms.
https://spec.matrix.org/latest/client-server-api/#account-registration-and-management
"""

import asyncio
import json
import secrets
from urllib.parse import quote, urlencode

from nio import (
    AccountDataEvent,
    AsyncClient,
    AsyncClientConfig,
    Event,
    ReceiptEvent,
    SyncError,
    SyncResponse,
)

from report import granted, in_background, until

_devices = []


def fresh_name(stem):
    """A random lower-case word, so that every run meets an unused name."""
    return f"{stem}-{secrets.token_hex(5)}"


class Person:
    """Somebody with a name and a password."""

    def __init__(self, base_url, store_path, stem):
        self.base_url = base_url
        self.store_path = store_path
        self.localpart = fresh_name(stem)
        self.password = f"pw-{secrets.token_hex(9)}"

    async def register(self, device_name):
        """Makes the account; returns its first device."""
        device = Device(self, device_name)
        granted("registration", await device.client.register(self.localpart, self.password, device_name))
        return device.ready()

    async def log_in(self, device_name, password=None):
        """Logs in on a new device."""
        device = Device(self, device_name)
        granted("log-in", await device.client.login(password or self.password, device_name))
        return device.ready()

    def password_auth(self, session):
        """The auth dictionary that proves the password in user-interactive authentication."""
        return {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": self.localpart},
            "password": self.password,
            "session": session,
        }


class Device:
    """A session of a person, with the nio client that holds it."""

    def __init__(self, person, name):
        self.person = person
        self.name = name
        config = AsyncClientConfig(encryption_enabled=True, max_timeouts=0, max_limit_exceeded=5)
        self.client = AsyncClient(person.base_url, person.localpart, store_path=person.store_path, config=config)
        self.user_id = self.device_id = self.token = None
        self.events = {}  # room id -> event id -> event, as last seen
        self.receipts = []  # every nio Receipt this device was sent
        self.left = {}  # room id -> member events seen in the leave section
        self.account_data = []  # every global account data event
        self.room_account_data = []  # every (room id, account data event)
        self._syncing = None
        _devices.append(self)

    def ready(self):
        """Remembers the session that the client has just got."""
        self.user_id = self.client.user_id
        self.device_id = self.client.device_id
        self.token = self.client.access_token
        return self

    async def start(self):
        """Starts syncing and waits for the first answer."""
        client = self.client
        client.add_event_callback(self._saw_event, Event)
        client.add_ephemeral_callback(lambda _room, event: self.receipts.extend(event.receipts), ReceiptEvent)
        client.add_global_account_data_callback(self.account_data.append, AccountDataEvent)
        client.add_room_account_data_callback(
            lambda room, event: self.room_account_data.append((room.room_id, event)), AccountDataEvent
        )
        client.add_response_callback(self._saw_sync, SyncResponse)
        client.add_response_callback(self._saw_sync_error, SyncError)
        self._syncing = asyncio.create_task(client.sync_forever(timeout=10_000))
        self._syncing.add_done_callback(self._sync_ended)
        await until(f"{self.name} finishes its first sync", lambda: client.next_batch)

    def _saw_event(self, room, event):
        if hasattr(event, "event_id"):
            self.events.setdefault(room.room_id, {})[event.event_id] = event

    async def _saw_sync(self, response):
        for room_id, info in response.rooms.leave.items():
            self.left.setdefault(room_id, []).extend(info.timeline.events)

    async def _saw_sync_error(self, response):
        in_background(f"{self.name}: /sync was answered with {response}")
        self.client.stop_sync_forever()

    def _sync_ended(self, task):
        if not task.cancelled() and task.exception():
            in_background(f"{self.name} stopped syncing: {task.exception()!r}")

    async def restart(self):
        """Syncs again after a stop, from where it was."""
        self._syncing = asyncio.create_task(self.client.sync_forever(timeout=10_000))
        self._syncing.add_done_callback(self._sync_ended)

    async def stop(self):
        """Ends syncing, keeps the session."""
        if self._syncing and not self._syncing.done():
            self._syncing.cancel()
            await asyncio.gather(self._syncing, return_exceptions=True)
        await self.client.close()

    def room(self, room_id):
        """The room as nio knows it, or None."""
        return self.client.rooms.get(room_id)

    async def invited(self, room_id):
        """Waits for an invitation; returns nio's invited room."""
        return await until(f"{self.name} is invited", lambda: self.client.invited_rooms.get(room_id))

    async def sees_member(self, room_id, user_id, present=True):
        """Waits until nio counts the user among the joined or invited members, or no longer does."""
        def listed():
            room = self.room(room_id)
            return room and (user_id in room.users) == present and user_id not in room.invited_users
        await until(
            f"{self.name} sees {user_id} {'in' if present else 'out of'} the room",
            listed,
            lambda: self.room(room_id) and list(self.room(room_id).users),
        )

    def event(self, room_id, event_id):
        """The event as last seen by /sync, or None."""
        return self.events.get(room_id, {}).get(event_id)

    async def reads(self, room_id, event_id, body):
        """Waits for a message with this text, decrypted if need be."""
        return await until(
            f'{self.name} reads "{body}"',
            lambda: getattr(self.event(room_id, event_id), "body", None) == body and self.event(room_id, event_id),
            lambda: self.event(room_id, event_id),
        )

    async def says(self, room_id, body, **more):
        """Says something in a room; returns the event id."""
        return await self.sends(room_id, "m.room.message", {"msgtype": "m.text", "body": body, **more})

    async def sends(self, room_id, kind, content):
        """Sends any event; returns its id."""
        sent = await self.client.room_send(room_id, kind, content, ignore_unverified_devices=True)
        return granted(f"{self.name} sends {kind}", sent).event_id

    async def request(self, method, path, body=None, query=None, token=...):
        """A request beside nio. Returns (status, body). `path` begins below /_matrix/client; None for no token."""
        url = f"/_matrix/client{path}" + (f"?{urlencode(query)}" if query else "")
        token = self.token if token is ... else token
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body)
        answer = await self.client.send(method, url, data, headers)
        return answer.status, await answer.json()

    async def fetch(self, path, query=None):
        """GETs something that must be there."""
        status, body = await self.request("GET", path, query=query)
        if status != 200:
            raise AssertionError(f"GET {path}: {status} {body}")
        return body

    async def fetch_event(self, room_id, event_id):
        """One event as the server holds it."""
        return await self.fetch(f"/v3/rooms/{quote(room_id)}/event/{quote(event_id)}")

    async def room_sync(self, room_id, room_filter, section="join"):
        """One /sync of its own, beside the client's: only this room. Returns the room's part of the answer."""
        # Some servers answer a repeated first sync from a cache: so no two are the same.
        sync_filter = {"presence": {"types": [fresh_name("none")]}, "room": {"rooms": [room_id], **room_filter}}
        answer = await self.fetch("/v3/sync", {"filter": json.dumps(sync_filter), "timeout": "0"})
        return answer.get("rooms", {}).get(section, {}).get(room_id)


async def stop_all():
    """Stops every client that was made."""
    for device in _devices:
        await device.stop()
