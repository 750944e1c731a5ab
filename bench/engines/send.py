"""Sends messages to the given nodes, in sixteen rooms at once, and prints what that took of the processes' CPU.

    send.py NAME MESSAGES "PID …" ADDRESS…

The processes are those with these numbers and all below them; PostgreSQL's end with their connection, so what ended is counted too.
"""

import http.client
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

ROOMS = 16


def processes(pids):
    """These processes and all below them."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat:
                    children.setdefault(stat.read().rsplit(")", 1)[1].split()[1], []).append(entry)
            except OSError:
                pass
    found, waiting = set(), list(pids)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, [])
    return found


def cpu(pids):
    """CPU seconds by program, of all these processes and of those below them that have ended."""
    spent = {}
    for pid in processes(pids):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                name, rest = stat.read().split("(", 1)[1].rsplit(")", 1)
        except OSError:
            continue
        fields = rest.split()
        ticks = sum(int(fields[at]) for at in (11, 12, 13, 14))
        spent[name] = spent.get(name, 0) + ticks / os.sysconf("SC_CLK_TCK")
    return spent


class Client:
    def __init__(self, address):
        self.connection = http.client.HTTPConnection(address, timeout=60)
        self.token = None

    def ask(self, method, path, body):
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        self.connection.request(method, "/_matrix/client/v3" + path, json.dumps(body), headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {text}")
        return json.loads(text)


def main():
    name, messages, pids, addresses = sys.argv[1], int(sys.argv[2]), sys.argv[3].split(), sys.argv[4:]
    clients = []
    for number in range(ROOMS):
        client = Client(addresses[number % len(addresses)])
        account = {"username": f"sender{os.getpid()}-{number}", "password": "a long password", "auth": {"type": "m.login.dummy"}}
        client.token = client.ask("POST", "/register", account)["access_token"]
        client.room = client.ask("POST", "/createRoom", {})["room_id"]
        # A connection that nothing comes over is closed before the last account is made.
        client.connection.close()
        clients.append(client)

    def send(client, count, first):
        for number in range(first, first + count):
            path = f"/rooms/{client.room}/send/m.room.message/{number}"
            client.ask("PUT", path, {"msgtype": "m.text", "body": f"message {number}"})

    def all_send(count, first):
        with ThreadPoolExecutor(ROOMS) as pool:
            list(pool.map(lambda client: send(client, count, first), clients))

    each = max(1, messages // ROOMS)
    all_send(max(1, each // 10), 0)
    before, begin = cpu(pids), time.monotonic()
    all_send(each, each)
    took, after = time.monotonic() - begin, cpu(pids)
    spent = {program: after[program] - before.get(program, 0) for program in after}
    sent, total = each * ROOMS, sum(spent.values())
    parts = ", ".join(f"{program} {seconds / sent * 1000:.3f}" for program, seconds in sorted(spent.items()) if seconds > 0)
    print(f"{name}: {total / sent * 1000:.3f} ms of CPU a message ({parts}); {sent} in {took:.1f} s")


main()
