"""Steps, expectations and waiting.

Owns: what is printed, the tally, every time limit. Must never know anything of Matrix beyond nio's error responses.
One step prints one line: `ok <step>` or `not ok <step>`, the latter followed by what was expected and what was seen.
A failed step does not stop the flow unless it was marked vital: later steps tell more about the server than silence.
"""

import asyncio
import inspect
import os
import time
import traceback
from pprint import pformat

from nio import ErrorResponse

_started = time.monotonic()
_limit = float(os.environ.get("HEARTH_FLOW_SECONDS", "300"))
_wait = float(os.environ.get("HEARTH_FLOW_WAIT_SECONDS", "30"))
_POLL = 0.025

_passed = 0
_failed = 0
_background: list[str] = []


class Mismatch(Exception):
    """What was expected and what was seen instead."""

    def __init__(self, what, expected, seen):
        super().__init__(f"{what}\n  expected: {_show(expected)}\n  seen:     {_show(seen)}")


class Stopped(Exception):
    """A step without which the rest makes no sense failed."""


def _show(value):
    if isinstance(value, str):
        return value
    text = pformat(value, width=150, depth=6)
    return text if len(text) < 4000 else f"{text[:4000]} ..."


def say(line):
    """Prints one line at once."""
    print(line, flush=True)


def in_background(what):
    """Notes a failure of something that runs beside the steps; the next wait fails with it."""
    _background.append(what)


async def step(name, run, vital=False):
    """Runs one named step, a coroutine, and prints its line. `vital` steps end the flow when they fail."""
    global _passed, _failed
    begun = time.monotonic()
    try:
        await asyncio.wait_for(run, max(_remaining(), 0.001))
    except Exception as error:
        _failed += 1
        say(f"not ok {name} (after {time.monotonic() - begun:.1f} s)")
        over = isinstance(error, asyncio.TimeoutError) and _remaining() <= 0
        if over:
            text = f"the whole flow took more than {_limit:.0f} s"
        elif isinstance(error, Mismatch):
            text = str(error)
        else:
            text = traceback.format_exc()
        say("\n".join(f"    {line}" for line in text.splitlines()))
        if vital or over:
            raise Stopped(name) from error
    else:
        _passed += 1
        say(f"ok {name}")


def finish():
    """Prints the last line and returns the exit code."""
    say(f"python: {_passed} passed, {_failed} failed")
    return 0 if _failed == 0 and _passed > 0 else 1


def _remaining():
    return _limit - (time.monotonic() - _started)


def equal(what, seen, expected):
    """Fails unless both are equal."""
    if seen != expected:
        raise Mismatch(what, expected, seen)


def holds(what, condition, seen):
    """Fails unless the condition holds; `seen` says what was looked at."""
    if not condition:
        raise Mismatch(what, "that it holds", seen)


def granted(what, response):
    """Fails if nio was given an error; returns the response."""
    if isinstance(response, ErrorResponse):
        raise Mismatch(what, "an answer that nio understands", response)
    return response


def refused(what, response, *errcodes):
    """Fails unless the answer is one of these errcodes. Takes nio's response or a (status, body) of Device.request."""
    seen = response[1].get("errcode") if isinstance(response, tuple) else getattr(response, "status_code", None)
    if seen not in errcodes:
        raise Mismatch(f"{what}: errcode", " or ".join(errcodes), response)


async def until(what, probe, seen=None):
    """Waits until `probe` gives something true and returns it; `seen` describes what there was instead."""
    end = time.monotonic() + min(_wait, _remaining())
    while True:
        if _background:
            raise Mismatch(f"while waiting: {what}", "nothing fails in the background", _background.pop(0))
        found = await _called(probe)
        if found:
            return found
        if time.monotonic() >= end:
            raise Mismatch(f"waited in vain: {what}", "that it happens", await _called(seen or probe))
        await asyncio.sleep(_POLL)


async def _called(function):
    value = function()
    return await value if inspect.isawaitable(value) else value
