//! A temporary folder, and the processes that work in it. They end with it, however this process ends. Must never end a
//! process that it did not start.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use tempfile::TempDir;

use crate::Failure;

/// Ends what runs and removes the folder once its standard input ends; then it is told whether to keep the folder.
const WATCH: &str = r#"keep=$(cat)
    for file in "$1"/pids/*; do [ -e "$file" ] && kill -KILL "$(cat "$file")" 2>/dev/null; done
    [ "$keep" = keep ] || { sleep 0.3; rm -rf "$1"; }"#;

/// The folder.
pub struct Folder {
    path: PathBuf,
    started: AtomicU32,
    keeps: AtomicBool,
    watcher: std::sync::Mutex<Child>,
}

/// A process of the folder.
pub struct Process {
    child: Child,
    pid_file: PathBuf,
}

impl Folder {
    /// A new one, which everybody may enter: the database runs as another user.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn make() -> Result<Self, Failure> {
        let path = TempDir::with_prefix("hearth-f-")?.keep();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        fs::create_dir(path.join("pids"))?;
        let watcher = Command::new("sh")
            .args(["-c", WATCH, "watcher"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self {
            path,
            started: AtomicU32::new(0),
            keeps: AtomicBool::new(false),
            watcher: std::sync::Mutex::new(watcher),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder stays when its processes end.
    pub fn keep(&self) {
        self.keeps.store(true, Ordering::Relaxed);
    }

    /// Starts `command`, whose output goes to the end of the file `log`.
    ///
    /// # Errors
    /// If there is no such program.
    pub fn spawn(&self, mut command: Command, log: &str) -> Result<Process, Failure> {
        let file = || {
            let path = self.path.join(log);
            fs::File::options().create(true).append(true).open(path)
        };
        command.stdin(Stdio::null()).stdout(file()?).stderr(file()?);
        let child = command.spawn()?;
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let pid_file = self.path.join("pids").join(number.to_string());
        fs::write(&pid_file, child.id().to_string())?;
        Ok(Process { child, pid_file })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let Ok(mut watcher) = self.watcher.lock() else {
            return;
        };
        if let Some(mut told) = watcher.stdin.take()
            && self.keeps.load(Ordering::Relaxed)
        {
            std::io::Write::write_all(&mut told, b"keep").ok();
        }
        watcher.wait().ok();
    }
}

impl Process {
    /// Sends a signal, by its name, such as `TERM`.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn signal(&self, name: &str) -> Result<(), Failure> {
        let id = self.child.id().to_string();
        let told = Command::new("kill")
            .args([&format!("-{name}"), &id])
            .status()?;
        told.success()
            .then_some(())
            .ok_or_else(|| Failure::Program(format!("kill -{name} failed")))
    }

    /// Whether it runs.
    #[must_use]
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end, which somebody must have brought about; gives how it ended.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn ended(mut self) -> Result<ExitStatus, Failure> {
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        };
        fs::remove_file(&self.pid_file)?;
        Ok(status)
    }
}

/// A port that nobody listens at.
///
/// # Errors
/// If there is none.
#[allow(clippy::disallowed_methods, reason = "it is over in a moment")]
pub fn free_port() -> Result<u16, Failure> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?
        .local_addr()?
        .port())
}
