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
    (
        "alice",
        "POST /user/<alice>/openid/request_token",
        "{}",
        "openid=/access_token",
    ),
    (
        "",
        "GET /_matrix/federation/v1/openid/userinfo?access_token=<openid>",
        "",
        "",
    ),
];

/// After alice has become an administrator.
pub(crate) const ADMINISTRATION: &[Step] = &[
    ("alice", "GET /admin/whois/<bob>", "", ""),
    ("bob", "403 GET /admin/whois/<alice>", "", ""),
    ("alice", "GET /capabilities", "", ""),
    (
        "alice",
        "PUT /_matrix/client/v1/admin/suspend/<dave>",
        r#"{"suspended":true}"#,
        "",
    ),
    (
        "alice",
        "GET /_matrix/client/v1/admin/suspend/<dave>",
        "",
        "",
    ),
    (
        "dave",
        "403 PUT /profile/<dave>/displayname",
        r#"{"displayname":"Dave"}"#,
        "",
    ),
    (
        "alice",
        "PUT /_matrix/client/v1/admin/suspend/<dave>",
        r#"{"suspended":false}"#,
        "",
    ),
    (
        "alice",
        "PUT /_matrix/client/v1/admin/lock/<dave>",
        r#"{"locked":true}"#,
        "",
    ),
    ("alice", "GET /_matrix/client/v1/admin/lock/<dave>", "", ""),
    ("dave", "401 GET /account/whoami", "", ""),
    (
        "alice",
        "PUT /_matrix/client/v1/admin/lock/<dave>",
        r#"{"locked":false}"#,
        "",
    ),
    (
        "bob",
        "403 GET /_matrix/client/v1/admin/lock/<dave>",
        "",
        "",
    ),
];

/// Mail addresses, telephone numbers and bridged networks, of which there are none: a refusal is what the specification
/// has for that.
pub(crate) const NOT_HERE: &[Step] = &[
    (
        "",
        "403 POST /register/email/requestToken",
        r#"{"client_secret":"a","email":"a@example.org","send_attempt":1}"#,
        "",
    ),
    (
        "",
        "403 POST /register/msisdn/requestToken",
        r#"{"client_secret":"a","country":"GB","phone_number":"07700900001","send_attempt":1}"#,
        "",
    ),
    (
        "",
        "400 POST /account/password/email/requestToken",
        r#"{"client_secret":"a","email":"a@example.org","send_attempt":1}"#,
        "",
    ),
    (
        "",
        "400 POST /account/password/msisdn/requestToken",
        r#"{"client_secret":"a","country":"GB","phone_number":"07700900001","send_attempt":1}"#,
        "",
    ),
    (
        "",
        "403 POST /account/3pid/email/requestToken",
        r#"{"client_secret":"a","email":"a@example.org","send_attempt":1}"#,
        "",
    ),
    (
        "",
        "403 POST /account/3pid/msisdn/requestToken",
        r#"{"client_secret":"a","country":"GB","phone_number":"07700900001","send_attempt":1}"#,
        "",
    ),
    (
        "alice",
        "400 POST /account/3pid/add",
        r#"{"client_secret":"a","sid":"1"}"#,
        "",
    ),
    (
        "alice",
        "400 POST /account/3pid/bind",
        r#"{"client_secret":"a","sid":"1","id_server":"id.example.org","id_access_token":"x"}"#,
        "",
    ),
    (
        "alice",
        "POST /account/3pid/delete",
        r#"{"medium":"email","address":"a@example.org"}"#,
        "",
    ),
    (
        "alice",
        "POST /account/3pid/unbind",
        r#"{"medium":"email","address":"a@example.org"}"#,
        "",
    ),
    ("alice", "404 GET /thirdparty/protocol/irc", "", ""),
    ("alice", "404 GET /thirdparty/location/irc", "", ""),
    (
        "alice",
        "404 GET /thirdparty/location?alias=%23tea:<server>",
        "",
        "",
    ),
    ("alice", "404 GET /thirdparty/user/irc", "", ""),
    ("alice", "404 GET /thirdparty/user?userid=<bob>", "", ""),
];

/// What other servers may ask without a signature.
pub(crate) const BY_SERVERS: &[Step] = &[
    ("", "GET /_matrix/federation/v1/version", "", ""),
    ("", "GET /_matrix/key/v2/server", "", ""),
    ("", "GET /_matrix/key/v2/query/<server>", "", ""),
    (
        "",
        "POST /_matrix/key/v2/query",
        r#"{"server_keys":{"<server>":{}}}"#,
        "",
    ),
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
    (
        "alice",
        "401 POST /_matrix/client/v1/login/get_token",
        "{}",
        "auth=/session",
    ),
    (
        "alice",
        "POST /_matrix/client/v1/login/get_token",
        r#"{"auth":{"type":"m.login.password","identifier":{"type":"m.id.user","user":"alice"},
            "password":"a secret of alice","session":"<auth>"}}"#,
        "login=/login_token",
    ),
    (
        "",
        "POST /login",
        r#"{"type":"m.login.token","token":"<login>"}"#,
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
