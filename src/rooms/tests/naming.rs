//! Whom a message names.

use serde_json::json;

use super::{House, is_forbidden, reading::unread};
use crate::Act;

#[tokio::test]
async fn who_left_is_not_named_and_who_came_back_is() {
    let house = House::open();
    let room = house.company(&["alice", "bob"]).await;
    house.say(&room, "alice", "hello bob").await;
    assert_eq!(unread(&house, &room, "bob").await.all.highlights, 1);
    house.act(&room, "bob", "bob", Act::Leave).await.unwrap();
    house.say(&room, "alice", "where is bob").await;
    let content = json!({ "msgtype": "m.text", "body": "here" });
    let refused = house.send(&room, "bob", "m.room.message", content).await;
    assert!(is_forbidden(&refused), "{refused:?}");
    house.act(&room, "alice", "bob", Act::Invite).await.unwrap();
    house.act(&room, "bob", "bob", Act::Join).await.unwrap();
    assert_eq!(unread(&house, &room, "bob").await.all.highlights, 0);
    house.say(&room, "alice", "bob is back").await;
    assert_eq!(unread(&house, &room, "bob").await.all.highlights, 1);
    house.say(&room, "bob", "I am").await;
}
