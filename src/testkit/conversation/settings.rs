//! What users show of themselves, and what they keep to themselves.

use super::Step;

/// Before rooms are made.
pub(crate) const STEPS: &[Step] = &[
    (
        "alice",
        "PUT /profile/<alice>/displayname",
        r#"{"displayname":"Alice"}"#,
        "",
    ),
    (
        "alice",
        "PUT /profile/<alice>/avatar_url",
        r#"{"avatar_url":"mxc://<server>/face"}"#,
        "",
    ),
    (
        "alice",
        "PUT /profile/<alice>/m.tz",
        r#"{"m.tz":"Europe/Berlin"}"#,
        "",
    ),
    (
        "bob",
        "403 PUT /profile/<alice>/displayname",
        r#"{"displayname":"Bob"}"#,
        "",
    ),
    ("", "GET /profile/<alice>", "", ""),
    ("", "GET /profile/<alice>/displayname", "", ""),
    ("", "GET /profile/<alice>/m.tz", "", ""),
    ("", "404 GET /profile/<bob>/m.tz", "", ""),
    ("alice", "DELETE /profile/<alice>/m.tz", "", ""),
    (
        "alice",
        "PUT /presence/<alice>/status",
        r#"{"presence":"online","status_msg":"here"}"#,
        "",
    ),
    ("alice", "GET /presence/<alice>/status", "", ""),
    (
        "alice",
        "PUT /user/<alice>/account_data/org.example.setting",
        r#"{"on":true}"#,
        "",
    ),
    (
        "alice",
        "GET /user/<alice>/account_data/org.example.setting",
        "",
        "",
    ),
    (
        "alice",
        "404 GET /user/<alice>/account_data/org.example.none",
        "",
        "",
    ),
    (
        "alice",
        "405 PUT /user/<alice>/account_data/m.push_rules",
        "{}",
        "",
    ),
    (
        "bob",
        "403 GET /user/<alice>/account_data/org.example.setting",
        "",
        "",
    ),
    ("alice", "GET /pushrules/", "", ""),
    ("alice", "GET /pushrules/global/", "", ""),
    (
        "alice",
        "PUT /pushrules/global/content/tea",
        r#"{"pattern":"tea","actions":["notify",{"set_tweak":"sound","value":"default"}]}"#,
        "",
    ),
    (
        "alice",
        "400 PUT /pushrules/global/content/.tea",
        r#"{"pattern":"tea","actions":["notify"]}"#,
        "",
    ),
    ("alice", "GET /pushrules/global/content/tea", "", ""),
    ("alice", "404 GET /pushrules/global/content/coffee", "", ""),
    ("alice", "GET /pushrules/global/content/tea/actions", "", ""),
    (
        "alice",
        "PUT /pushrules/global/content/tea/actions",
        r#"{"actions":[]}"#,
        "",
    ),
    ("alice", "GET /pushrules/global/content/tea/enabled", "", ""),
    (
        "alice",
        "PUT /pushrules/global/content/tea/enabled",
        r#"{"enabled":false}"#,
        "",
    ),
    ("alice", "DELETE /pushrules/global/content/tea", "", ""),
    (
        "alice",
        "POST /pushers/set",
        r#"{"app_id":"org.example.app","pushkey":"key","kind":"http","lang":"en","app_display_name":"App",
            "device_display_name":"desk","profile_tag":"tag",
            "data":{"url":"https://push.example.org/_matrix/push/v1/notify","format":"event_id_only"}}"#,
        "",
    ),
    ("alice", "GET /pushers", "", ""),
    (
        "alice",
        "POST /pushers/set",
        r#"{"app_id":"org.example.app","pushkey":"key","kind":null}"#,
        "",
    ),
];

/// After `<room>` is made.
pub(crate) const OF_ROOMS: &[Step] = &[
    (
        "alice",
        "PUT /user/<alice>/rooms/<room>/account_data/org.example.setting",
        r#"{"on":true}"#,
        "",
    ),
    (
        "alice",
        "GET /user/<alice>/rooms/<room>/account_data/org.example.setting",
        "",
        "",
    ),
    (
        "alice",
        "404 GET /user/<alice>/rooms/<room>/account_data/org.example.none",
        "",
        "",
    ),
    (
        "alice",
        "PUT /user/<alice>/rooms/<room>/tags/m.favourite",
        r#"{"order":0.5}"#,
        "",
    ),
    ("alice", "GET /user/<alice>/rooms/<room>/tags", "", ""),
    ("alice", "GET /sync", "", ""),
    (
        "alice",
        "DELETE /user/<alice>/rooms/<room>/tags/m.favourite",
        "",
        "",
    ),
];
