//! Keys, their backup and messages between devices. The signatures are none: real clients make real ones elsewhere.

use super::Step;

/// While alice and bob share a room.
pub(crate) const STEPS: &[Step] = &[
    ("bob", "GET /sync", "", "from=/next_batch"),
    (
        "alice",
        "POST /keys/upload",
        r#"{"device_keys":{"user_id":"<alice>","device_id":"<alice.device>","algorithms":["m.megolm.v1.aes-sha2"],
                "keys":{"ed25519:<alice.device>":"x","curve25519:<alice.device>":"y"},"signatures":{}},
            "one_time_keys":{"signed_curve25519:AAAA":{"key":"x","signatures":{"<alice>":{"ed25519:<alice.device>":"z"}}}},
            "fallback_keys":{"signed_curve25519:AAAB":{"key":"w","fallback":true,
                "signatures":{"<alice>":{"ed25519:<alice.device>":"z"}}}}}"#,
        "",
    ),
    (
        "alice",
        "POST /keys/device_signing/upload",
        r#"{"master_key":{"user_id":"<alice>","usage":["master"],
                "keys":{"ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}}"#,
        "",
    ),
    (
        "alice",
        "401 POST /keys/device_signing/upload",
        r#"{"master_key":{"user_id":"<alice>","usage":["master"],
                "keys":{"ed25519:BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA":"BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA"}}}"#,
        "",
    ),
    (
        "alice",
        "POST /keys/signatures/upload",
        r#"{"<alice>":{"<alice.device>":{"user_id":"<alice>","device_id":"<alice.device>",
                "algorithms":["m.megolm.v1.aes-sha2"],
                "keys":{"ed25519:<alice.device>":"x","curve25519:<alice.device>":"y"},
                "signatures":{"<alice>":{"ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA":"z"}}}}}"#,
        "",
    ),
    (
        "bob",
        "POST /keys/query",
        r#"{"device_keys":{"<alice>":[]}}"#,
        "",
    ),
    (
        "bob",
        "POST /keys/claim",
        r#"{"one_time_keys":{"<alice>":{"<alice.device>":"signed_curve25519"}}}"#,
        "",
    ),
    (
        "bob",
        "GET /sync?since=<from>&timeout=0",
        "",
        "to=/next_batch",
    ),
    ("bob", "GET /keys/changes?from=<from>&to=<to>", "", ""),
    (
        "bob",
        "PUT /sendToDevice/m.room_key_request/1",
        r#"{"messages":{"<alice>":{"*":{"action":"request_cancellation","requesting_device_id":"A","request_id":"1"}}}}"#,
        "",
    ),
    ("alice", "GET /sync", "", ""),
    ("alice", "404 GET /room_keys/version", "", ""),
    (
        "alice",
        "POST /room_keys/version",
        VERSION,
        "version=/version",
    ),
    ("alice", "GET /room_keys/version", "", ""),
    ("alice", "GET /room_keys/version/<version>", "", ""),
    ("alice", "PUT /room_keys/version/<version>", VERSION, ""),
    (
        "alice",
        "PUT /room_keys/keys?version=<version>",
        r#"{"rooms":{"<room>":{"sessions":{"one":{"first_message_index":1,"forwarded_count":0,
            "is_verified":false,"session_data":{"ciphertext":"x","ephemeral":"y","mac":"z"}}}}}}"#,
        "",
    ),
    (
        "alice",
        "PUT /room_keys/keys/<room>?version=<version>",
        r#"{"sessions":{"two":{"first_message_index":1,"forwarded_count":0,
            "is_verified":false,"session_data":{"ciphertext":"x","ephemeral":"y","mac":"z"}}}}"#,
        "",
    ),
    (
        "alice",
        "PUT /room_keys/keys/<room>/three?version=<version>",
        r#"{"first_message_index":1,"forwarded_count":0,
            "is_verified":false,"session_data":{"ciphertext":"x","ephemeral":"y","mac":"z"}}"#,
        "",
    ),
    (
        "alice",
        "403 PUT /room_keys/keys/<room>/three?version=77",
        r#"{"first_message_index":1,"forwarded_count":0,
            "is_verified":false,"session_data":{"ciphertext":"x","ephemeral":"y","mac":"z"}}"#,
        "",
    ),
    ("alice", "GET /room_keys/keys?version=<version>", "", ""),
    (
        "alice",
        "GET /room_keys/keys/<room>?version=<version>",
        "",
        "",
    ),
    (
        "alice",
        "GET /room_keys/keys/<room>/three?version=<version>",
        "",
        "",
    ),
    (
        "alice",
        "404 GET /room_keys/keys/<room>/four?version=<version>",
        "",
        "",
    ),
    (
        "alice",
        "DELETE /room_keys/keys/<room>/three?version=<version>",
        "",
        "",
    ),
    (
        "alice",
        "DELETE /room_keys/keys/<room>?version=<version>",
        "",
        "",
    ),
    ("alice", "DELETE /room_keys/keys?version=<version>", "", ""),
    ("alice", "DELETE /room_keys/version/<version>", "", ""),
];

const VERSION: &str =
    r#"{"algorithm":"m.megolm_backup.v1.curve25519-aes-sha2","auth_data":{"public_key":"abc"}}"#;
