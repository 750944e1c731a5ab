"""The two servers: their configuration, starting and stopping them.

Owns: processes and ports. Must never speak Matrix. Everything listens on loopback.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

FILTER = "info,ruma_state_res=warn,hearth_rooms=debug,hearth_federation=debug"
ROOMY = "{per_second: 100000, burst_count: 100000}"


def free_ports(count):
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Server:
    """A homeserver at two ports: one for other servers, over TLS, and one for clients."""

    def __init__(self, folder):
        self.folder = folder
        self.port, self.client_port = free_ports(2)
        self.name = f"localhost:{self.port}"
        self.url = f"http://127.0.0.1:{self.client_port}"
        self._process = None
        folder.mkdir()

    def command(self):
        """What is run, in the server's folder."""
        raise NotImplementedError

    async def start(self):
        """Starts the server and waits until it listens."""
        log = (self.folder / "output").open("ab")
        self._process = subprocess.Popen(
            self.command(), cwd=self.folder, stdin=subprocess.PIPE, stdout=log, stderr=log, env=self.environment()
        )
        for port in (self.port, self.client_port):
            await self._listens(port)

    def environment(self):
        return dict(os.environ)

    async def _listens(self, port):
        for _ in range(1200):
            self._ended()
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            except OSError:
                await asyncio.sleep(0.1)
        raise AssertionError(f"a server does not listen: {self.end_of_log()}")

    def _ended(self):
        if self._process.poll() is not None:
            raise AssertionError(f"a server ended with {self._process.returncode}: {self.end_of_log()}")

    async def stop(self):
        """Ends the server and waits for that."""
        if self._process and self._process.poll() is None:
            self.end()
            await asyncio.get_running_loop().run_in_executor(None, self._process.wait)

    def end(self):
        """Tells the server to stop."""
        self._process.terminate()

    def logs(self):
        """The files that the server writes to."""
        return [self.folder / "output", self.folder / "log"]

    def end_of_log(self):
        """The last lines that the server wrote."""
        return "".join(path.read_text(errors="replace")[-3000:] for path in self.logs() if path.exists())


class Hearth(Server):
    """A server of ours."""

    def __init__(self, folder, certificates, program):
        super().__init__(folder)
        self._program = program
        (folder / "hearth.toml").write_text(
            f"""
[server]
name = "{self.name}"
signing_key_file = "signing.key"
control_socket = "control.sock"
[listen]
addresses = ["127.0.0.1:{self.client_port}"]
https_addresses = ["127.0.0.1:{self.port}"]
tls_certificate_file = {json.dumps(str(certificates / "certificate.pem"))}
tls_key_file = {json.dumps(str(certificates / "key.pem"))}
[store]
path = "store"
[registration]
mode = "open"
open_to_everyone = true
[limits]
rate_limit = false
[federation]
private_addresses = true
extra_ca_file = {json.dumps(str(certificates / "authority.pem"))}
[log]
filter = "{FILTER}"
"""
        )

    def command(self):
        return [self._program, "serve", "--config", "hearth.toml"]


class Cluster(Server):
    """Three nodes of ours behind HAProxy, over PostgreSQL and Redis. Stopped, all of that stops; what is stored stays."""

    def __init__(self, folder, certificates, program):
        super().__init__(folder)
        self._program = program
        self._certificates = certificates
        self._nodes = folder / "nodes"

    def command(self):
        script = str(Path(__file__).parents[2] / "cluster.sh")
        # It goes on until nobody holds its input any more.
        return [script, self._program, "sh", "-c", 'echo $HEARTH_CLUSTER_NODE_PIDS >nodes; cat']

    def environment(self):
        return {
            **os.environ,
            "HEARTH_CLUSTER_FOLDER": str(self.folder / "cluster"),
            "HEARTH_HTTP": f"127.0.0.1:{self.client_port}",
            "HEARTH_HTTPS": f"127.0.0.1:{self.port}",
            "HEARTH_CERTIFICATE": str(self._certificates / "both.pem"),
            "HEARTH__SERVER__NAME": self.name,
            "HEARTH__FEDERATION__PRIVATE_ADDRESSES": "true",
            "HEARTH__FEDERATION__EXTRA_CA_FILE": str(self._certificates / "authority.pem"),
            "HEARTH__LOG__FILTER": FILTER,
        }

    async def start(self):
        self._nodes.unlink(missing_ok=True)
        await super().start()
        while not self._nodes.exists():
            self._ended()
            await asyncio.sleep(0.1)

    def end(self):
        self._process.stdin.close()

    def kill_node(self):
        """Ends the first node, as a loss of power would."""
        os.kill(int(self._nodes.read_text().split()[0]), signal.SIGKILL)

    def logs(self):
        return super().logs() + sorted((self.folder / "cluster").glob("*.log"))


class Synapse(Server):
    """Synapse from its package, on SQLite."""

    def __init__(self, folder, certificates, python):
        super().__init__(folder)
        self._python = python
        self._certificates = certificates
        (folder / "log.yaml").write_text(
            "version: 1\nhandlers: {file: {class: logging.FileHandler, filename: log}}\n"
            "root: {level: WARNING, handlers: [file]}\ndisable_existing_loggers: false\n"
        )
        (folder / "homeserver.yaml").write_text(
            f"""
server_name: "{self.name}"
pid_file: pid
listeners:
  - {{port: {self.client_port}, type: http, bind_addresses: [127.0.0.1], resources: [{{names: [client]}}]}}
  - {{port: {self.port}, type: http, tls: true, bind_addresses: [127.0.0.1], resources: [{{names: [federation, keys]}}]}}
tls_certificate_path: {certificates / "certificate.pem"}
tls_private_key_path: {certificates / "key.pem"}
federation_custom_ca_list: [{certificates / "authority.pem"}]
ip_range_blacklist: []
database: {{name: sqlite3, args: {{database: homeserver.db}}}}
log_config: log.yaml
media_store_path: media
signing_key_path: signing.key
registration_shared_secret: one
macaroon_secret_key: two
form_secret: three
report_stats: false
trusted_key_servers: []
allow_public_rooms_over_federation: true
enable_registration: true
enable_registration_without_verification: true
modules: [{{module: policing.PolicyServer, config: {{}}}}]
federation: {{destination_min_retry_interval: 1s, destination_retry_multiplier: 1, destination_max_retry_interval: 2s}}
rc_message: {ROOMY}
rc_registration: {ROOMY}
rc_room_creation: {ROOMY}
rc_login: {{address: {ROOMY}, account: {ROOMY}, failed_attempts: {ROOMY}}}
rc_joins: {{local: {ROOMY}, remote: {ROOMY}}}
rc_joins_per_room: {ROOMY}
rc_invites: {{per_room: {ROOMY}, per_user: {ROOMY}, per_issuer: {ROOMY}}}
rc_federation: {{window_size: 1000, sleep_limit: 100000, sleep_delay: 1, reject_limit: 100000, concurrent: 100}}
rc_key_requests: {ROOMY}
rc_presence: {{per_user: {ROOMY}}}
"""
        )
        self._run("--generate-keys")

    def _run(self, *arguments):
        subprocess.run(self.command() + list(arguments), cwd=self.folder, check=True, env=self.environment(), capture_output=True)

    def environment(self):
        return {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}

    def policed(self):
        """What the policy server in it was asked: for each event who sent it, what it says, and whether it was refused."""
        asked = self.folder / "asked"
        return [json.loads(line) for line in asked.read_text().splitlines()] if asked.exists() else []

    def policy(self):
        """The content of the event that puts a room under that policy server."""
        return {"via": self.name, "public_keys": {"ed25519": (self.folder / "policy_key").read_text()}}

    def command(self):
        return [self._python, "-m", "synapse.app.homeserver", "-c", "homeserver.yaml"]


def certificates(python, folder):
    """Makes the authority and the certificate of a run."""
    folder.mkdir()
    script = Path(__file__).parent / "certificates.py"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([python, str(script), str(folder)], check=True, env=environment)
    return folder
