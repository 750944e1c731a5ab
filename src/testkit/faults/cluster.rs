//! The cluster of one seed: machines, of which each runs a node and a worker under leases; the database; Redis. Owns what
//! happens to them. Must never say that something is done before it is.

use std::{path::PathBuf, process::Command, sync::Arc, time::Duration};

use hearth_testkit::{Far, Folder, Process, Template, Trust, free_port};
use tokio::{sync::Mutex, time::Instant};

use crate::{
    Failure,
    client::{Hosts, is_healthy},
    database::Database,
    plan::{Fault, MACHINES, Step},
};

/// How long a node may take to start.
const PATIENCE: Duration = Duration::from_secs(40);

/// Where the programs are.
pub(crate) struct Programs {
    hearth: PathBuf,
    tally: PathBuf,
}

impl Programs {
    /// Beside this one.
    pub(crate) fn find() -> Result<Self, Failure> {
        let own = std::env::current_exe()?;
        let (hearth, tally) = (own.with_file_name("hearth"), own.with_file_name("tally"));
        for program in [&hearth, &tally] {
            if !program.exists() {
                return Err(format!("{} is missing: build it first", program.display()).into());
            }
        }
        Ok(Self { hearth, tally })
    }
}

/// The processes of a machine, while it runs.
type Machine = Mutex<Option<[Process; 2]>>;

/// The cluster.
pub(crate) struct Cluster {
    /// Before the folder, whose end ends everything.
    hosts: Hosts,
    programs: [PathBuf; 2],
    database: Database,
    redis_port: u16,
    redis: Mutex<Option<Process>>,
    machines: [Machine; MACHINES],
    trust: Trust,
    /// Part of the cluster's name, where other servers find its first node.
    named: u16,
    far: Far,
    folder: Folder,
}

impl Cluster {
    /// Starts one.
    pub(crate) async fn start(
        programs: &Programs,
        template: &Arc<Template>,
    ) -> Result<Self, Failure> {
        let folder = Folder::make()?;
        let database = Database::start(template, &folder).await?;
        let mut ports = [0; MACHINES];
        for port in &mut ports {
            *port = free_port()?;
        }
        let trust = Trust::make(folder.path())?;
        let far = Far::start(&programs.hearth, &trust, &folder)?;
        let cluster = Self {
            trust,
            named: free_port()?,
            far,
            hosts: Hosts::at(ports),
            programs: [programs.hearth.clone(), programs.tally.clone()],
            database,
            redis_port: free_port()?,
            redis: Mutex::new(None),
            machines: Default::default(),
            folder,
        };
        *cluster.redis.lock().await = Some(cluster.run_redis()?);
        // The first makes the signing key, which the others share.
        cluster.boot(0).await?;
        tokio::try_join!(cluster.boot(1), cluster.boot(2))?;
        while !is_healthy(&cluster.far_hosts(), 0).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(cluster)
    }

    pub(crate) fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// Where clients of the other server find that.
    pub(crate) fn far_hosts(&self) -> Hosts {
        Hosts::at([self.far.port(); MACHINES])
    }

    /// What the cluster is called.
    pub(crate) fn name(&self) -> String {
        format!("127.0.0.1:{}", self.named)
    }

    pub(crate) fn database_url(&self) -> String {
        self.database.url()
    }

    /// Keeps the folder, for whoever wants to know what happened.
    pub(crate) fn keep(&self) -> PathBuf {
        self.folder.keep();
        self.folder.path().to_owned()
    }

    fn run_redis(&self) -> Result<Process, Failure> {
        let mut command = Command::new("redis-server");
        let port = self.redis_port.to_string();
        command.args([
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        Ok(self.folder.spawn(command, "redis.log")?)
    }

    /// Starts what runs on a machine, without waiting for it.
    fn run_machine(&self, machine: usize) -> Result<[Process; 2], Failure> {
        let [hearth, tally] = &self.programs;
        let file = |name: String| self.folder.path().join(name);
        let address = format!("[\"{}\"]", self.hosts.address(machine));
        let redis = format!("redis://127.0.0.1:{}", self.redis_port);
        let mut node = Command::new(hearth);
        node.arg("serve")
            .current_dir(self.folder.path())
            .env(
                "HEARTH__SERVER__SIGNING_KEY_FILE",
                file("signing.key".to_owned()),
            )
            .env(
                "HEARTH__SERVER__CONTROL_SOCKET",
                file(format!("control-{machine}")),
            )
            .env("HEARTH__LISTEN__ADDRESSES", address)
            .env("HEARTH__STORE__URL", self.database.url())
            .env("HEARTH__REDIS__URL", redis)
            .env("HEARTH__REGISTRATION__MODE", "open")
            .env("HEARTH__LIMITS__RATE_LIMIT", "false");
        self.trust.name(&mut node, self.named);
        if machine == 0 {
            self.trust.listen(&mut node, self.named);
        }
        let mut worker = Command::new(tally);
        worker.arg(self.database.url());
        Ok([
            self.folder.spawn(node, &format!("node-{machine}.log"))?,
            self.folder.spawn(worker, &format!("tally-{machine}.log"))?,
        ])
    }

    /// Starts a machine and waits until its node answers.
    async fn boot(&self, machine: usize) -> Result<(), Failure> {
        let mut place = self.machines[machine].lock().await;
        let deadline = Instant::now() + PATIENCE;
        // Where starting takes long, another fault may have ended in the meantime and started it.
        if place.is_none() {
            *place = Some(self.run_machine(machine)?);
        }
        loop {
            let Some(processes) = &mut *place else {
                return Ok(());
            };
            if processes.iter_mut().any(|process| !process.runs()) {
                // Where the database is away at the start, a node ends, and whoever watches over it starts it again.
                for process in place.take().into_iter().flatten() {
                    process.signal("KILL").ok();
                    process.ended().await?;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
                *place = Some(self.run_machine(machine)?);
            }
            if is_healthy(&self.hosts, machine).await {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("node {machine} does not start").into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Lets a fault happen and end.
    pub(crate) async fn suffer(&self, step: Step) -> Result<(), Failure> {
        let lasts = step.lasts;
        match step.fault {
            Fault::Kill(machine) => {
                self.end(machine, "KILL").await?;
                tokio::time::sleep(lasts).await;
                self.boot(machine).await
            }
            Fault::Stop(machine) => {
                self.end(machine, "TERM").await?;
                tokio::time::sleep(lasts).await;
                self.boot(machine).await
            }
            Fault::Pause(machine) => {
                let place = self.machines[machine].lock().await;
                for process in place.iter().flatten() {
                    process.signal("STOP")?;
                }
                tokio::time::sleep(lasts).await;
                for process in place.iter().flatten() {
                    process.signal("CONT")?;
                }
                Ok(())
            }
            Fault::RedisDies => {
                let mut redis = self.redis.lock().await;
                if let Some(process) = redis.take() {
                    process.signal("KILL")?;
                    process.ended().await?;
                }
                tokio::time::sleep(lasts).await;
                *redis = Some(self.run_redis()?);
                Ok(())
            }
            Fault::RedisHangs => {
                let redis = self.redis.lock().await;
                for process in redis.iter() {
                    process.signal("STOP")?;
                    tokio::time::sleep(lasts).await;
                    process.signal("CONT")?;
                }
                Ok(())
            }
            Fault::DatabaseRestarts => self.database.restart(&self.folder, "INT", lasts).await,
            Fault::DatabaseCrashes => self.database.restart(&self.folder, "QUIT", lasts).await,
            Fault::Failover => self.database.fail_over(lasts).await,
        }
    }

    async fn end(&self, machine: usize, signal: &str) -> Result<(), Failure> {
        let processes = self.machines[machine].lock().await.take();
        let mut ending = Vec::new();
        for process in processes.into_iter().flatten() {
            process.signal(signal)?;
            ending.push(process);
        }
        for process in ending {
            process.ended().await?;
        }
        Ok(())
    }
}
