//! One seed from its beginning to its end: accounts and rooms, clients at work, faults, and the last word.

use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use hearth_base::{Clock as _, SystemClock};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::{
    Failure,
    client::{Client, Hosts, Question},
    cluster::Cluster,
    judge::{self, Verdict},
    plan::{Dice, Fault, LENGTH, Plan},
    reader::{Read, Reader},
    writer::{Writer, Written},
};

const WRITERS: usize = 3;
const READERS: usize = 4;
const ROOMS: usize = 2;
const KEYS: usize = 80;

/// For readers to come to the end.
const PATIENCE: Duration = Duration::from_secs(90);

/// A fault as it happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Happened {
    pub(crate) fault: Fault,
    pub(crate) from: Duration,
    pub(crate) to: Duration,
}

/// Everything that was seen.
pub(crate) struct Seen {
    pub(crate) rooms: Vec<String>,
    pub(crate) written: Vec<Written>,
    pub(crate) read: Vec<Read>,
    /// By a user of the other server.
    pub(crate) far: Read,
    pub(crate) happened: Vec<Happened>,
    /// When times begin, in milliseconds since the epoch.
    pub(crate) began: u64,
    /// Who was in the rooms.
    pub(crate) token: String,
}

/// Lets `plan` happen to `cluster`, and judges.
pub(crate) async fn run(cluster: &Cluster, plan: &Plan) -> Result<Verdict, Failure> {
    let names = |kind: &str, count| {
        (0..count)
            .map(move |n| format!("{kind}{n}"))
            .collect::<Vec<_>>()
    };
    let hosts = cluster.hosts();
    let writers = accounts(hosts, plan, &names("writer", WRITERS)).await?;
    let mut readers = accounts(hosts, plan, &names("reader", READERS)).await?;
    let rooms = rooms(plan, &writers, &readers).await?;
    upload_keys(plan, &readers).await?;
    let far = accounts(&cluster.far_hosts(), plan, &names("far", 1)).await?;
    for room in &rooms {
        let mut client = far[0].client(plan, 5)?;
        let path = format!("/join/{room}?via={}", cluster.name());
        client.insist(Question::post(&path, json!({}))).await?;
    }
    let keyed = readers.len();
    // The last one: it reads at the other server.
    readers.extend(far);
    let start = Instant::now();
    let began = SystemClock.now().0;
    let writer = |(n, account): (usize, &Account)| -> Result<Writer, Failure> {
        Ok(Writer {
            name: format!("w{n}"),
            client: account.client(plan, 10 + n)?,
            rooms: rooms.clone(),
            readers: readers
                .iter()
                .map(|it| (it.user.clone(), it.device.clone()))
                .collect(),
            keyed,
            user: account.name.clone(),
            start,
        })
    };
    let reading = readers.iter().enumerate().map(|(n, account)| {
        let client = account.client(plan, 20 + n)?;
        let rooms = rooms.clone();
        let name = format!("reader{n}");
        Ok::<_, Failure>(Reader {
            name,
            client,
            rooms,
            start,
        })
    });
    let reading: Vec<_> = reading.collect::<Result<_, _>>()?;
    let reading = reading
        .into_iter()
        .map(|it| tokio::spawn(it.read(LENGTH + PATIENCE)));
    let reading: Vec<_> = reading.collect();
    let writing = writers
        .iter()
        .enumerate()
        .map(writer)
        .collect::<Result<Vec<_>, _>>()?;
    let writing = try_join_all(
        writing
            .into_iter()
            .map(|it| it.write(LENGTH + Duration::from_secs(1))),
    );
    let (happened, written) = tokio::try_join!(suffer(cluster, plan, start), writing)?;
    let mut written = written;
    written.push(writer((WRITERS, &writers[0]))?.end().await?);
    let mut read = Vec::new();
    for done in join_all(reading).await {
        read.push(done??);
    }
    let far = read.pop().ok_or("nobody reads at the other server")?;
    let seen = Seen {
        far,
        rooms,
        written,
        read,
        happened,
        began,
        token: writers[0].token.clone(),
    };
    judge::judge(cluster, &seen).await
}

/// Lets everything happen at its time; gives when it really did.
async fn suffer(cluster: &Cluster, plan: &Plan, start: Instant) -> Result<Vec<Happened>, Failure> {
    let steps = plan.steps.iter().map(|step| async move {
        sleep_until(start + step.at).await;
        let from = start.elapsed();
        cluster.suffer(*step).await?;
        Ok::<_, Failure>(Happened {
            fault: step.fault,
            from,
            to: start.elapsed(),
        })
    });
    try_join_all(steps).await
}

struct Account {
    name: String,
    user: String,
    device: String,
    token: String,
    /// Where its server is.
    hosts: Hosts,
}

impl Account {
    fn client(&self, plan: &Plan, purpose: usize) -> Result<Client, Failure> {
        let dice = Dice::of(plan.seed, u64::try_from(purpose)?);
        let mut client = Client::of(&self.hosts, dice)?;
        client.speak_for(self.token.clone());
        Ok(client)
    }
}

async fn accounts(hosts: &Hosts, plan: &Plan, names: &[String]) -> Result<Vec<Account>, Failure> {
    let made = names.iter().map(|name| async move {
        let mut client = Client::of(hosts, Dice::of(plan.seed, 1))?;
        let body = json!({
            "username": name,
            "password": format!("{name}'s password"),
            "auth": { "type": "m.login.dummy" },
        });
        let answer = client.insist(Question::post("/register", body)).await?;
        let text = |key: &str| answer[key].as_str().map(ToOwned::to_owned);
        Ok::<_, Failure>(Account {
            name: name.clone(),
            user: text("user_id").ok_or("no user")?,
            device: text("device_id").ok_or("no device")?,
            token: text("access_token").ok_or("no token")?,
            hosts: hosts.clone(),
        })
    });
    try_join_all(made).await
}

/// Gives each reader's device keys to be claimed.
async fn upload_keys(plan: &Plan, readers: &[Account]) -> Result<(), Failure> {
    for account in readers {
        let mut client = account.client(plan, 4)?;
        let keys = (0..KEYS).map(|n| {
            let key = json!({ "key": format!("key{n}"), "signatures": {} });
            (format!("signed_curve25519:K{n:03}"), key)
        });
        let keys: serde_json::Map<_, _> = keys.collect();
        let body = json!({ "one_time_keys": keys });
        client.insist(Question::post("/keys/upload", body)).await?;
    }
    Ok(())
}

async fn rooms(
    plan: &Plan,
    writers: &[Account],
    readers: &[Account],
) -> Result<Vec<String>, Failure> {
    let mut rooms = Vec::new();
    let mut maker = writers[0].client(plan, 2)?;
    for _ in 0..ROOMS {
        let levels = json!({ "events": { "m.room.topic": 0 } });
        let body = json!({ "preset": "public_chat", "power_level_content_override": levels });
        let made = maker.insist(Question::post("/createRoom", body)).await?;
        let room = made["room_id"].as_str().ok_or("no room")?;
        rooms.push(room.to_owned());
    }
    for account in writers.iter().skip(1).chain(readers) {
        let mut client = account.client(plan, 3)?;
        for room in &rooms {
            let path = format!("/rooms/{room}/join");
            client.insist(Question::post(&path, json!({}))).await?;
        }
    }
    Ok(rooms)
}
