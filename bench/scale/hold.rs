//! Owns the processes that wait for news in the name of very many clients, one for each node, as a process has only so many files.
//! They are lean: a client that waits has a socket and a small future, and no buffer. Must never be slower to look at an answer than
//! they have to, since that would be the server's delay.

use std::{
    cell::RefCell,
    io::{self, BufRead as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
    process::Stdio,
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::{TcpSocket, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::mpsc,
    task::LocalSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{cluster::Cluster, crowd::Crowd};
use crate::{Failure, http::Client, measure::count};

/// The argument by which the program knows that it is such a process.
pub(crate) const ARGUMENT: &str = "hold";

/// What each client asks for, in milliseconds.
const POLL: u32 = 30_000;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(150);

/// For all of them to wait.
const LONGEST: Duration = Duration::from_secs(400);

/// The longest answer that is believed.
const MOST: usize = 1 << 20;

/// In front of the time at which a message was sent.
const STAMP: &[u8] = b"sent at ";

/// What one of these processes, or all of them, saw.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Held {
    /// How long messages took to arrive, in milliseconds.
    pub(crate) delivered: Vec<f64>,
    /// Answers that there is nothing new.
    pub(crate) empty: usize,
    /// Clients that got no answer, or none of success.
    pub(crate) failed: usize,
    /// Why, of one of them.
    pub(crate) why: Option<String>,
}

/// What a process is told.
#[derive(Serialize, Deserialize)]
struct Task {
    address: SocketAddr,
    /// From which address.
    source: Ipv4Addr,
    since: String,
    tokens: Vec<String>,
    /// How many begin in a second.
    ramp: usize,
}

/// Microseconds since the epoch, the same in all processes.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(0))
}

/// A message that says when it was sent.
pub(crate) fn stamped() -> String {
    format!("sent at {}.", now())
}

/// All of these processes.
pub(crate) struct Holders(Vec<Holder>);

struct Holder {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Holders {
    /// Starts one for each node, which begins `ramp` clients a second.
    pub(crate) async fn start(
        cluster: &Cluster,
        crowd: &Crowd,
        each: usize,
        ramp: usize,
    ) -> Result<Self, Failure> {
        let mut holders = Vec::new();
        let nodes = cluster.nodes();
        let since = Client::new(cluster.address(0))
            .now(&crowd.waiting[0])
            .await?;
        for number in 0..nodes {
            let own = crowd.waiting.iter().skip(number).step_by(nodes).take(each);
            let task = Task {
                address: cluster.address(number),
                source: Ipv4Addr::new(127, 0, 0, u8::try_from(2 + number)?),
                since: since.clone(),
                tokens: own.map(|user| user.token.clone()).collect(),
                ramp,
            };
            let mut child = Command::new(std::env::current_exe()?)
                .arg(ARGUMENT)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .process_group(0)
                .kill_on_drop(true)
                .spawn()?;
            let (input, output) = (child.stdin.take(), child.stdout.take());
            let (mut input, output) = input.zip(output).ok_or("a process without pipes")?;
            let line = serde_json::to_string(&task)? + "\n";
            input.write_all(line.as_bytes()).await?;
            holders.push(Holder {
                child,
                input,
                output: BufReader::new(output).lines(),
            });
        }
        Ok(Self(holders))
    }

    /// The processes.
    pub(crate) fn roots(&self) -> Vec<u32> {
        self.0.iter().filter_map(|one| one.child.id()).collect()
    }

    /// Waits until each client waits.
    pub(crate) async fn until_all_wait(&mut self) -> Result<(), Failure> {
        let wait = async {
            for holder in &mut self.0 {
                holder.output.next_line().await?.ok_or("a holder ended")?;
            }
            Ok(())
        };
        timeout(LONGEST, wait).await?
    }

    /// Ends them once `expected` messages have arrived, or after `grace`; gives what all of them saw.
    pub(crate) async fn end(self, expected: usize, grace: Duration) -> Result<Held, Failure> {
        let deadline = Instant::now() + grace;
        let (mut all, mut holders) = (Held::default(), self.0);
        while all.delivered.len() < expected && Instant::now() < deadline {
            sleep(Duration::from_millis(200)).await;
            all = Held::default();
            for holder in &mut holders {
                holder.input.write_all(b"\n").await?;
                let line = holder.output.next_line().await?.ok_or("a holder ended")?;
                let one: Held = serde_json::from_str(&line)?;
                all.delivered.extend(one.delivered);
                all.empty += one.empty;
                all.failed += one.failed;
                all.why = all.why.or(one.why);
            }
        }
        for mut holder in holders {
            drop(holder.input);
            holder.child.wait().await?;
        }
        Ok(all)
    }
}

/// What such a process does: waits, tells once all wait, and tells what it saw for each line that it is sent.
pub(crate) async fn hold() -> Result<(), Failure> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let task: Task = serde_json::from_str(&line)?;
    let seen = Rc::new(RefCell::new(Held::default()));
    let local = LocalSet::new();
    local
        .run_until(async {
            let begin = Instant::now();
            let (address, source) = (task.address, task.source);
            for (number, token) in task.tokens.into_iter().enumerate() {
                sleep_until(begin + Duration::from_secs_f64(count(number) / count(task.ramp)))
                    .await;
                let (since, seen) = (task.since.clone(), seen.clone());
                tokio::task::spawn_local(async move {
                    if let Err(error) = poll(address, source, &token, since, &seen).await {
                        let mut seen = seen.borrow_mut();
                        seen.failed += 1;
                        seen.why.get_or_insert(error.to_string());
                    }
                });
            }
            sleep(Duration::from_secs(1)).await;
            writeln!(io::stdout(), "all wait")?;
            let mut asked = asked();
            while asked.recv().await.is_some() {
                let seen = serde_json::to_string(&*seen.borrow())?;
                writeln!(io::stdout(), "{seen}")?;
            }
            Ok(())
        })
        .await
}

/// A message for each line of the standard input; ends with it.
fn asked() -> mpsc::Receiver<()> {
    let (tell, asked) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            if line.is_err() || tell.blocking_send(()).is_err() {
                break;
            }
        }
    });
    asked
}

/// Waits for news for ever.
async fn poll(
    address: SocketAddr,
    source: Ipv4Addr,
    token: &str,
    mut since: String,
    seen: &RefCell<Held>,
) -> Result<(), Failure> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    let mut stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    loop {
        let request = format!(
            "GET /_matrix/client/v3/sync?timeout={POLL}&since={since} HTTP/1.1\r\nHost: localhost\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        drop(request);
        let answer = timeout(PATIENCE, answer(&stream)).await??;
        let arrived = now();
        let next = after(&answer, b"\"next_batch\":\"").ok_or("an answer without a token")?;
        let end = next.iter().position(|byte| *byte == b'"');
        since = String::from_utf8(next[..end.ok_or("half a token")?].to_vec())?;
        let (mut seen, mut rest, mut is_empty) = (seen.borrow_mut(), answer.as_slice(), true);
        while let Some(stamp) = after(rest, STAMP) {
            let digits = stamp.iter().take_while(|byte| byte.is_ascii_digit());
            let sent = digits.fold(0, |sent, digit| sent * 10 + u64::from(digit - b'0'));
            let late = Duration::from_micros(arrived.saturating_sub(sent));
            seen.delivered.push(late.as_secs_f64() * 1000.0);
            (rest, is_empty) = (stamp, false);
        }
        seen.empty += usize::from(is_empty);
    }
}

/// The rest of `text` after the first `mark`.
fn after<'a>(text: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    let at = text.windows(mark.len()).position(|found| found == mark)?;
    Some(&text[at + mark.len()..])
}

/// The body of the next answer, which has to be one of success. Nothing is kept for it before it begins.
async fn answer(stream: &TcpStream) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    loop {
        stream.readable().await?;
        let mut part = [0; 4096];
        match stream.try_read(&mut part) {
            Ok(0) => return Err("the connection ended".into()),
            Ok(length) => bytes.extend_from_slice(&part[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        }
        if bytes.len() > MOST {
            return Err("an answer too long".into());
        }
        let Some(body) = after(&bytes, b"\r\n\r\n") else {
            continue;
        };
        let head = &bytes[..bytes.len() - body.len()];
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        if !head.starts_with("http/1.1 200") {
            return Err(format!("the answer was {head}").into());
        }
        let length = head
            .split("\r\n")
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let length: usize = length.ok_or("an answer of unknown length")?;
        if body.len() >= length {
            return Ok(body.to_vec());
        }
    }
}
