//! Accounts, sessions and devices: their beginning, and their end, after which nobody can ask for anything.

use super::Step;

/// Until alice, bob, carol and dave are there.
pub(crate) const BEGINNING: &[Step] = &[
    ("", "GET /.well-known/matrix/client", "", ""),
    ("", "GET /.well-known/matrix/support", "", ""),
    ("", "GET /_matrix/client/versions", "", ""),
    ("", "GET /login", "", ""),
    ("", "GET /register/available?username=alice", "", ""),
    (
        "",
        "401 POST /register",
        r#"{"username":"alice","password":"a secret of alice"}"#,
        "auth=/session",
    ),
    (
        "",
        "POST /register",
        r#"{"username":"alice","password":"a secret of alice","initial_device_display_name":"desk",
            "auth":{"type":"m.login.dummy","session":"<auth>"}}"#,
        "alice=/user_id alice.token=/access_token alice.device=/device_id",
    ),
    ("", "400 GET /register/available?username=alice", "", ""),
    (
        "",
        "POST /register",
        r#"{"username":"bob","password":"a secret of bob","refresh_token":true,"auth":{"type":"m.login.dummy"}}"#,
        "bob=/user_id bob.token=/access_token bob.device=/device_id bob.refresh=/refresh_token",
    ),
    (
        "",
        "POST /refresh",
        r#"{"refresh_token":"<bob.refresh>"}"#,
        "bob.token=/access_token",
    ),
    (
        "",
        "POST /register",
        r#"{"username":"carol","password":"a secret of carol","auth":{"type":"m.login.dummy"}}"#,
        "carol=/user_id carol.token=/access_token",
    ),
    (
        "",
        "POST /register",
        r#"{"username":"dave","password":"a secret of dave","inhibit_login":true,"auth":{"type":"m.login.dummy"}}"#,
        "dave=/user_id",
    ),
    (
        "",
        "POST /login",
        r#"{"type":"m.login.password","identifier":{"type":"m.id.user","user":"dave"},"password":"a secret of dave"}"#,
        "dave.token=/access_token",
    ),
    (
        "",
        "403 POST /login",
        r#"{"type":"m.login.password","identifier":{"type":"m.id.user","user":"dave"},"password":"not it"}"#,
        "",
    ),
    ("alice", "GET /account/whoami", "", ""),
    ("", "401 GET /account/whoami", "", ""),
    ("alice", "GET /capabilities", "", ""),
    ("alice", "GET /account/3pid", "", ""),
    ("alice", "GET /admin/whois/<alice>", "", ""),
    ("alice", "404 GET /voip/turnServer", "", ""),
    ("alice", "GET /thirdparty/protocols", "", ""),
    ("alice", "POST /user/<alice>/openid/request_token", "{}", ""),
];

/// While registration goes by tokens.
pub(crate) const REGISTRATION_BY_TOKEN: &[Step] = &[(
    "",
    "GET /_matrix/client/v1/register/m.login.registration_token/validity?token=none",
    "",
    "",
)];

/// Devices, a new password, and farewells.
pub(crate) const END: &[Step] = &[
    ("alice", "GET /devices", "", ""),
    ("alice", "GET /devices/<alice.device>", "", ""),
    ("alice", "404 GET /devices/NONE", "", ""),
    (
        "alice",
        "PUT /devices/<alice.device>",
        r#"{"display_name":"table"}"#,
        "",
    ),
    ("", "POST /login", LOGIN, "second=/device_id"),
    ("", "POST /login", LOGIN, "third=/device_id"),
    (
        "alice",
        "401 DELETE /devices/<second>",
        "{}",
        "auth=/session",
    ),
    (
        "alice",
        "DELETE /devices/<second>",
        r#"{"auth":{"type":"m.login.password","identifier":{"type":"m.id.user","user":"alice"},
            "password":"a secret of alice","session":"<auth>"}}"#,
        "",
    ),
    (
        "alice",
        "401 POST /delete_devices",
        r#"{"devices":["<third>"]}"#,
        "auth=/session",
    ),
    (
        "alice",
        "POST /delete_devices",
        r#"{"devices":["<third>"],"auth":{"type":"m.login.password","identifier":{"type":"m.id.user","user":"alice"},
            "password":"a secret of alice","session":"<auth>"}}"#,
        "",
    ),
    (
        "alice",
        "401 POST /account/password",
        r#"{"new_password":"another secret"}"#,
        "auth=/session",
    ),
    (
        "alice",
        "POST /account/password",
        r#"{"new_password":"another secret","auth":{"type":"m.login.password","identifier":{"type":"m.id.user","user":"alice"},
            "password":"a secret of alice","session":"<auth>"}}"#,
        "",
    ),
    ("bob", "POST /logout", "{}", ""),
    ("bob", "401 GET /account/whoami", "", ""),
    ("carol", "POST /logout/all", "{}", ""),
    (
        "dave",
        "401 POST /account/deactivate",
        "{}",
        "auth=/session",
    ),
    (
        "dave",
        "POST /account/deactivate",
        r#"{"erase":true,"auth":{"type":"m.login.password","identifier":{"type":"m.id.user","user":"dave"},
            "password":"a secret of dave","session":"<auth>"}}"#,
        "",
    ),
    ("", "404 GET /profile/<dave>", "", ""),
];

const LOGIN: &str = r#"{"type":"m.login.password","identifier":{"type":"m.id.user","user":"alice"},
    "password":"a secret of alice"}"#;
