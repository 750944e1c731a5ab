"""A policy server inside Synapse: it signs every event that it is asked about, but for messages that say "spam".

Owns: its key, and a note of what it was asked. Must never look at rooms: all of them are of version 12. Synapse loads it as a module.
https://spec.matrix.org/latest/server-server-api/#policy-servers
"""

import json
from pathlib import Path

from signedjson.key import decode_signing_key_base64, encode_verify_key_base64, get_verify_key
from synapse.api.room_versions import RoomVersions
from synapse.crypto.event_signing import compute_event_signature
from twisted.web.resource import Resource

KEY = decode_signing_key_base64("ed25519", "policy_server", "A" * 42 + "E")


class PolicyServer(Resource):
    """The resource /_matrix/policy/v1/sign. It notes in the file `asked` whom it answered how about which text."""

    isLeaf = True

    def __init__(self, _config, api):
        super().__init__()
        self._name = api.server_name
        Path("policy_key").write_text(encode_verify_key_base64(get_verify_key(KEY)))
        api.register_web_resource("/_matrix/policy/v1/sign", self)

    def render_POST(self, request):
        """Answers with a signature, or with 403 and why."""
        pdu = json.loads(request.content.read())
        text = pdu["content"].get("body", pdu["type"])
        request.setHeader(b"Content-Type", b"application/json")
        refused = text == "spam"
        with Path("asked").open("a") as asked:
            asked.write(json.dumps([pdu["sender"], text, refused]) + "\n")
        if refused:
            request.setResponseCode(403)
            return json.dumps({"errcode": "M_FORBIDDEN", "error": "this looks like spam"}).encode()
        return json.dumps(compute_event_signature(RoomVersions.V12, pdu, self._name, KEY)).encode()
