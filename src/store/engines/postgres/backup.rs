//! Copies of a store: made while it is in use, at one version, as a file of our own that any computer reads.
//!
//! No transaction stays open for as long as that takes, which would keep the database from cleaning up: a hold keeps the
//! past of the version that is copied. A backup folder holds several such files.
//!
//! A file is a line with its form, the position of the log (8 bytes), then records: the number of the table (2 bytes), the length
//! of the key (4), the key, the length of the value (4), the value. Table 0xFFFF ends it, followed by how many records
//! there were (8) and the SHA-256 of everything before (32). Numbers are big-endian.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hearth_base::Rng;
use sha2::{Digest as _, Sha256};
use tokio::{
    fs::{self, File},
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, BufWriter},
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_postgres::types::ToSql;

use super::{
    Options, closed,
    committer::{HoldChange, Request},
    connection::{Failure, Line, Purpose, Target},
    readers::{Ask, Readers},
    schema,
    statements::FORM,
    transaction::GroupId,
    view::{Head, PostgresView},
};
use crate::{Direction, Error};

/// The first line of a file.
const FORM_LINE: &[u8] = b"hearth backup 1\n";

/// Ends the records.
const END: u16 = u16::MAX;

/// How a file is called, before its number.
const NAME: &str = "hearth-backup-";

/// How a file is called while it is written.
const UNFINISHED: &str = "unfinished";

/// How many backups are kept in a folder.
const KEPT: usize = 7;

/// How many records are read at once.
const PAGE: usize = 2000;

/// How often the hold is renewed.
const RENEW: Duration = Duration::from_secs(15);

/// The longest key or value that is believed in a file.
const LONGEST: usize = 1 << 30;

/// Tells the committer about the hold of a backup.
struct Hold {
    queue: mpsc::Sender<Request>,
    id: GroupId,
}

impl Hold {
    async fn change(&self, change: HoldChange) -> Result<Head, Error> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Hold {
            id: self.id,
            change,
            reply,
        };
        self.queue.send(request).await.map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }
}

/// Adds a backup of now to `target`, which is missing, empty or holds earlier ones.
pub(super) async fn take(
    queue: mpsc::Sender<Request>,
    readers: Arc<Readers>,
    target: PathBuf,
    id: GroupId,
) -> Result<(), Error> {
    let number = next_number(&target).await?;
    fs::create_dir_all(&target)
        .await
        .map_err(|e| of(&target, &e))?;
    let hold = Hold { queue, id };
    let head = hold.change(HoldChange::Keep).await?;
    let unfinished = target.join(UNFINISHED);
    let written = write(&hold, readers, head, &unfinished).await;
    // A hold that is not released is given up by others once nobody renews it.
    hold.change(HoldChange::Release).await.ok();
    written?;
    let finished = target.join(format!("{NAME}{number:06}"));
    fs::rename(&unfinished, &finished)
        .await
        .map_err(|e| of(&finished, &e))?;
    sync_folder(&target).await?;
    let mut all = numbers(&target).await?;
    all.sort_unstable();
    let surplus = all.len().saturating_sub(KEPT);
    for old in all.into_iter().take(surplus) {
        let path = target.join(format!("{NAME}{old:06}"));
        fs::remove_file(&path).await.map_err(|e| of(&path, &e))?;
    }
    Ok(())
}

async fn write(hold: &Hold, readers: Arc<Readers>, head: Head, path: &Path) -> Result<(), Error> {
    let mut out = Out::create(path).await?;
    out.put(FORM_LINE).await?;
    out.put(&head.position.0.to_be_bytes()).await?;
    let view = PostgresView::of(readers.clone(), head);
    let (mut table, mut renewed) = (next_table(&readers, 0).await?, Instant::now());
    while let Some(number) = table {
        let mut low = Vec::new();
        loop {
            let range = low..vec![0xFF; 64];
            let page = view.pairs(number, range, Direction::Forward, PAGE).await?;
            for (key, value) in &page {
                out.record(number, key, value).await?;
            }
            if renewed.elapsed() > RENEW {
                hold.change(HoldChange::Keep).await?;
                renewed = Instant::now();
            }
            match page.last() {
                Some((last, _)) if page.len() == PAGE => {
                    low = last.to_vec();
                    low.push(0);
                }
                _ => break,
            }
        }
        table = match number.checked_add(1) {
            Some(from) => next_table(&readers, from).await?,
            None => None,
        };
    }
    out.end().await
}

async fn next_table(readers: &Readers, from: i16) -> Result<Option<i16>, Error> {
    let rows = readers.ask(&Ask::Table { from }).await?;
    let mut lowest = None;
    for row in rows {
        let table: i16 = row.try_get(0).map_err(|e| Failure::from(e).error)?;
        lowest = Some(lowest.map_or(table, |other: i16| other.min(table)));
    }
    Ok(lowest)
}

/// A file under construction.
struct Out {
    file: BufWriter<File>,
    path: PathBuf,
    sum: Sha256,
    records: u64,
}

impl Out {
    async fn create(path: &Path) -> Result<Self, Error> {
        let file = File::create(path).await.map_err(|e| of(path, &e))?;
        Ok(Self {
            file: BufWriter::with_capacity(1 << 18, file),
            path: path.to_owned(),
            sum: Sha256::new(),
            records: 0,
        })
    }

    async fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.sum.update(bytes);
        self.file
            .write_all(bytes)
            .await
            .map_err(|e| of(&self.path, &e))
    }

    async fn record(&mut self, table: i16, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.records += 1;
        self.put(&table.to_be_bytes()).await?;
        for part in [key, value] {
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            self.put(&length.to_be_bytes()).await?;
            self.put(part).await?;
        }
        Ok(())
    }

    async fn end(mut self) -> Result<(), Error> {
        self.put(&END.to_be_bytes()).await?;
        let records = self.records.to_be_bytes();
        self.put(&records).await?;
        let sum = self.sum.finalize();
        let done = async {
            self.file.write_all(&sum).await?;
            self.file.flush().await?;
            self.file.get_ref().sync_all().await
        };
        done.await.map_err(|e| of(&self.path, &e))
    }
}

/// Restores the newest backup of the folder `from` into the database of `options`, which must hold no store, or one that
/// was never written to.
///
/// # Errors
/// `Unavailable` if `from` holds no backup or the database holds anything; `Corrupt` if the backup is damaged.
pub async fn restore(from: &Path, options: &Options, rng: Arc<dyn Rng>) -> Result<(), Error> {
    let newest = numbers(from).await?.into_iter().max();
    let Some(newest) = newest else {
        return Err(Error::Unavailable(format!(
            "{} holds no backup",
            from.display()
        )));
    };
    let path = from.join(format!("{NAME}{newest:06}"));
    // Read twice: nothing of a damaged backup gets into the database.
    In::open(&path).await?.check().await?;
    let target = Target::parse(&options.url, options.relaxed)?;
    let restored = load(&path, &target).await;
    restored.map_err(|failure| failure.error)?;
    // As every start does.
    super::open(options.clone(), rng).await.map(drop)
}

async fn load(path: &Path, target: &Target) -> Result<(), Failure> {
    let line = target.connect(Purpose::Reading).await?;
    begin(&line).await?;
    let mut file = In::open(path).await.map_err(Failure::lasting)?;
    let position = i64::try_from(file.position).unwrap_or(i64::MAX);
    let mut ended = false;
    while !ended {
        let mut page: Vec<(i16, Vec<u8>, Vec<u8>)> = Vec::new();
        while page.len() < PAGE && !ended {
            match file.record().await.map_err(Failure::lasting)? {
                Some(record) => page.push(record),
                None => ended = true,
            }
        }
        let tables: Vec<i16> = page.iter().map(|(table, ..)| *table).collect();
        let keys: Vec<&[u8]> = page.iter().map(|(_, key, _)| key.as_slice()).collect();
        let values: Vec<&[u8]> = page.iter().map(|(.., value)| value.as_slice()).collect();
        let parameters: [&(dyn ToSql + Sync); 3] = [&tables, &keys, &values];
        let insert = "INSERT INTO hearth_now (tbl, key, version, value) \
            SELECT k.tbl, k.key, 0, k.value FROM unnest($1::INT2[], $2::BYTEA[], $3::BYTEA[]) AS k(tbl, key, value)";
        line.client.execute(insert, &parameters).await?;
    }
    let end = "UPDATE hearth_head SET form = $1, head = $2 WHERE id = 0";
    line.client.execute(end, &[&FORM, &position]).await?;
    Ok(())
}

/// Marks the store as being restored, which keeps everybody else away; refuses one that was ever written to.
async fn begin(line: &Line) -> Result<(), Failure> {
    let client = &line.client;
    schema::make(client).await?;
    let refused = || {
        let text = "the database holds a store, and nothing is overwritten";
        Failure::lasting(Error::Unavailable(text.to_owned()))
    };
    if schema::form(client).await? != Some(0) {
        let mark = "UPDATE hearth_head SET form = 0 WHERE id = 0 AND version = 0 AND head = 0 \
            AND NOT EXISTS (SELECT 1 FROM hearth_now)";
        if client.execute(mark, &[]).await? != 1 {
            return Err(refused());
        }
    }
    // What an earlier attempt left.
    client.batch_execute("DELETE FROM hearth_now").await?;
    Ok(())
}

/// A file that is read.
struct In {
    file: BufReader<File>,
    path: PathBuf,
    sum: Sha256,
    position: u64,
    records: u64,
}

impl In {
    async fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).await.map_err(|e| of(path, &e))?;
        let mut open = Self {
            file: BufReader::with_capacity(1 << 18, file),
            path: path.to_owned(),
            sum: Sha256::new(),
            position: 0,
            records: 0,
        };
        if open.take(FORM_LINE.len()).await? != FORM_LINE {
            return Err(open.damaged());
        }
        open.position = u64::from_be_bytes(open.fixed().await?);
        Ok(open)
    }

    /// The next record; `None` at the end, once count and sum are found to be right.
    async fn record(&mut self) -> Result<Option<(i16, Vec<u8>, Vec<u8>)>, Error> {
        let table: [u8; 2] = self.fixed().await?;
        if u16::from_be_bytes(table) == END {
            let records = u64::from_be_bytes(self.fixed().await?);
            let expected = self.sum.clone().finalize();
            let sum: [u8; 32] = self.fixed().await?;
            if records != self.records || expected[..] != sum {
                return Err(self.damaged());
            }
            return Ok(None);
        }
        self.records += 1;
        let key = self.part().await?;
        let value = self.part().await?;
        Ok(Some((i16::from_be_bytes(table), key, value)))
    }

    async fn check(mut self) -> Result<(), Error> {
        while self.record().await?.is_some() {}
        Ok(())
    }

    async fn part(&mut self) -> Result<Vec<u8>, Error> {
        let length = u32::from_be_bytes(self.fixed().await?);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > LONGEST {
            return Err(self.damaged());
        }
        self.take(length).await
    }

    async fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let bytes = self.take(N).await?;
        bytes.try_into().map_err(|_| self.damaged())
    }

    async fn take(&mut self, length: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let wanted = u64::try_from(length).unwrap_or(u64::MAX);
        // Grows as bytes come: a length that lies takes no memory.
        let mut some = (&mut self.file).take(wanted);
        let read = some.read_to_end(&mut bytes).await;
        if read.map_err(|e| of(&self.path, &e))? != length {
            return Err(self.damaged());
        }
        self.sum.update(&bytes);
        Ok(bytes)
    }

    fn damaged(&self) -> Error {
        Error::Corrupt(format!("the backup {} is damaged", self.path.display()))
    }
}

/// The number of the next backup of `folder`; refuses a folder with anything else in it.
async fn next_number(folder: &Path) -> Result<u32, Error> {
    let mut entries = match fs::read_dir(folder).await {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(1),
        Err(e) => return Err(of(folder, &e)),
    };
    while let Some(entry) = entries.next_entry().await.map_err(|e| of(folder, &e))? {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if numbered(&name).is_none() && name != UNFINISHED {
            return Err(Error::Unavailable(format!(
                "{} is neither empty nor a backup folder",
                folder.display()
            )));
        }
    }
    let newest = numbers(folder).await?.into_iter().max();
    Ok(newest.map_or(1, |newest| newest.saturating_add(1)))
}

/// The numbers of the backups in `folder`.
async fn numbers(folder: &Path) -> Result<Vec<u32>, Error> {
    let mut found = Vec::new();
    let mut entries = fs::read_dir(folder).await.map_err(|e| of(folder, &e))?;
    while let Some(entry) = entries.next_entry().await.map_err(|e| of(folder, &e))? {
        found.extend(numbered(&entry.file_name().to_string_lossy()));
    }
    Ok(found)
}

fn numbered(name: &str) -> Option<u32> {
    name.strip_prefix(NAME)?.parse().ok()
}

async fn sync_folder(folder: &Path) -> Result<(), Error> {
    let synced = async { File::open(folder).await?.sync_all().await };
    synced.await.map_err(|e| of(folder, &e))
}

fn of(path: &Path, error: &std::io::Error) -> Error {
    Error::Unavailable(format!("{}: {error}", path.display()))
}
