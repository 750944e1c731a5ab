//! Target: whole transactions, over the endpoints of a whole server, from a hostile one that also answers what it is asked.
//! The answer is one for each event or a refusal, never a fault; nothing forged can be read afterwards, nothing of the room
//! changes that the sender may not change, and what is right arrives.
//!
//! | file | what |
//! |---|---|
//! | `world.rs` | the server under test, and requests to it |
//! | `hostile.rs` | the hostile servers: their keys, and what they answer |
//! | `forge.rs` | events of a transaction |
//! | `messages.rs` | messages of a transaction that are no events |

mod forge;
mod hostile;
mod messages;
mod world;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{Outcome, source::Source};
use forge::{Forger, Sent};
use hostile::EVIL;
use world::{Inside, World};

/// How many questions to other servers one transaction may cause at most.
const MOST_ASKED: usize = 5_000;

static WORLD: Mutex<Option<World>> = Mutex::new(None);

/// Sends a transaction to a room of its own.
pub(crate) fn run(source: &Source) -> Outcome {
    let mut world = WORLD.lock();
    let world = match &mut *world {
        Some(world) => world,
        none => none.insert(World::start()?),
    };
    world.run(async |world| input(world, source).await)
}

/// Ends the server.
pub(crate) fn close() {
    if let Some(world) = WORLD.lock().take() {
        world.close();
    }
}

/// How a transaction is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// As it should be.
    Right,
    /// The body names another origin than the header.
    OtherOrigin,
    /// The signature is one of another body.
    OtherBody,
    /// The header claims another server's name.
    OtherServer,
    /// There are more events than may be.
    TooManyEvents,
    /// There are more messages than may be.
    TooManyMessages,
    /// Bytes of the body are spoilt before it is signed.
    Spoilt,
}

impl Manner {
    fn of(source: &Source) -> Self {
        match source.pick(20) {
            0 => Self::OtherOrigin,
            1 => Self::OtherBody,
            2 => Self::OtherServer,
            3 => Self::TooManyEvents,
            4 => Self::TooManyMessages,
            5 => Self::Spoilt,
            _ => Self::Right,
        }
    }
}

async fn input(world: &Inside, source: &Source) -> Outcome {
    let manner = Manner::of(source);
    let room = world.make_room(source).await?;
    world.hostile.begin(room.now);
    let mut forger = Forger::join(world, source, &room).await?;
    let before = world.state(&room).await?;
    let mut events = forger.events(world, source)?;
    let mut messages = messages::made_up(source, &room.id);
    match manner {
        Manner::TooManyEvents => {
            let first = events.first().cloned().ok_or("there is no event")?;
            events.resize(51 + source.pick(10), first);
        }
        Manner::TooManyMessages => messages.resize(101 + source.pick(10), Value::Null),
        _ => {}
    }
    world.hostile.prepare(source, &room, &forger);
    let mut body = json!({
        "origin": EVIL[0],
        "origin_server_ts": source.integer().unsigned_abs(),
        "pdus": events.iter().map(|sent| &sent.json).collect::<Vec<_>>(),
        "edus": messages,
    });
    if manner == Manner::OtherOrigin {
        body["origin"] = json!([EVIL[1], world::OWN, "", "nowhere.test"][source.pick(4)]);
    }
    let mut bytes = body.to_string().into_bytes();
    if manner == Manner::Spoilt {
        source.spoil(&mut bytes);
    }
    let id = match source.once_in(12) {
        true => source.opaque([20, 255, 256, 2000][source.pick(4)]),
        false => format!("t{}", source.seed),
    };
    source.tell(|| format!("{manner:?}: {}", String::from_utf8_lossy(&bytes)));
    let (status, answer) = world.send(&id, &bytes, manner, source).await?;
    source.tell(|| format!("{status}: {answer}"));
    judge_answer(status, &answer, &events, manner)?;
    let is_taken = status == 200;
    if is_taken && manner == Manner::Right {
        replay(world, source, &id, &answer, &mut forger).await?;
    }
    world.settle().await?;
    let asked = world.hostile.asked();
    if asked > MOST_ASKED {
        return Err(format!("{asked} questions were asked because of it"));
    }
    if manner == Manner::Spoilt {
        // What a right event follows may be among what was spoilt.
        events.iter_mut().for_each(|sent| sent.marker = None);
    }
    judge_room(world, &room, &before, &events, &answer, is_taken).await?;
    Ok(is_taken)
}

/// One answer for each event, or a refusal that says why.
fn judge_answer(
    status: u16,
    answer: &Value,
    events: &[Sent],
    manner: Manner,
) -> Result<(), String> {
    if status == 200 {
        let judged = answer["pdus"].as_object();
        let judged = judged.ok_or_else(|| format!("200 without results: {answer}"))?;
        let well_formed = judged.values().all(|verdict| {
            let error = verdict.get("error");
            verdict.is_object() && error.is_none_or(Value::is_string)
        });
        if !well_formed || judged.len() > events.len() {
            return Err(format!("the results are wrong: {answer}"));
        }
        if !matches!(manner, Manner::Right | Manner::Spoilt) {
            return Err(format!("{manner:?}, and it is taken: {answer}"));
        }
        return Ok(());
    }
    let is_refusal = (400..500).contains(&status) && answer["errcode"].is_string();
    match is_refusal {
        true => Ok(()),
        false => Err(format!("{status}: {answer}")),
    }
}

/// The same transaction again gets the same answer, whatever it holds now.
async fn replay(
    world: &Inside,
    source: &Source,
    id: &str,
    answer: &Value,
    forger: &mut Forger,
) -> Result<(), String> {
    if !source.once_in(3) {
        return Ok(());
    }
    let late = forger.never(source, "replayed")?;
    let body = json!({
        "origin": EVIL[0], "origin_server_ts": 1, "pdus": [late.json],
    });
    let bytes = body.to_string().into_bytes();
    let (status, again) = world.send(id, &bytes, Manner::Right, source).await?;
    match status == 200 && again == *answer {
        true => Ok(()),
        false => Err(format!(
            "{status} {again} instead of {answer} the second time"
        )),
    }
}

/// What can be read afterwards.
async fn judge_room(
    world: &Inside,
    room: &world::Room,
    before: &Value,
    events: &[Sent],
    answer: &Value,
    is_taken: bool,
) -> Result<(), String> {
    let read = world.read(room).await?;
    if let Some(at) = read.find("forged") {
        let from = read.floor_char_boundary(at.saturating_sub(600));
        return Err(format!("something forged can be read: {}", &read[from..]));
    }
    let types = |user: &str| read.contains(&format!("\"user_ids\":[\"{user}"));
    if types("@alice:here.test") || types("@u:e1.evil.test") {
        return Err(format!("somebody is said to type who does not: {read}"));
    }
    let after = world.state(room).await?;
    if after != *before {
        return Err(format!("the state was {before}, and is {after}"));
    }
    if !read.contains(world::PROOF) {
        return Err("what was there before is gone".to_owned());
    }
    for sent in events {
        let Some(id) = &sent.id else { continue };
        if sent.is_forged {
            let (status, event) = world.event(room, id).await?;
            if status == 200 {
                return Err(format!("{id} can be read: {event}"));
            }
            continue;
        }
        let Some(marker) = &sent.marker else { continue };
        let is_accepted = is_taken && answer["pdus"].get(id.as_str()) == Some(&json!({}));
        let shown = read.matches(marker.as_str()).count();
        if shown != usize::from(is_accepted) {
            return Err(format!(
                "{marker} is shown {shown} times: {is_taken} {answer}"
            ));
        }
    }
    Ok(())
}
