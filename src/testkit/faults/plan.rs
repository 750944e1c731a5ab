//! What a seed means: which faults come when. Must never depend on anything but the seed.

use std::{fmt::Write as _, time::Duration};

use hearth_base::{Rng, SeededRng};

/// How many machines there are, each with a node and a worker under leases.
pub(crate) const MACHINES: usize = 3;

/// How long faults come.
pub(crate) const LENGTH: Duration = Duration::from_secs(13);

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A machine dies and starts again.
    Kill(usize),
    /// A machine is told to stop, and started again.
    Stop(usize),
    /// A machine stands still.
    Pause(usize),
    /// Redis dies and starts again, empty.
    RedisDies,
    /// Redis stands still.
    RedisHangs,
    /// The database is shut down and started again.
    DatabaseRestarts,
    /// The database dies and recovers.
    DatabaseCrashes,
    /// The database dies, and its replica takes its place.
    Failover,
}

impl Fault {
    /// Whether it is but the death of a node, which readers must hardly feel.
    pub(crate) fn is_kill(self) -> bool {
        matches!(self, Self::Kill(_))
    }
}

/// A fault, when it comes, and how long it lasts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) at: Duration,
    pub(crate) lasts: Duration,
    pub(crate) fault: Fault,
}

/// Everything that happens.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) steps: Vec<Step>,
}

impl Plan {
    /// The plan of `seed`.
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = Dice(SeededRng::new(seed));
        let mut steps: Vec<Step> = Vec::new();
        let mut at = dice.millis(800, 1500);
        // Every fifth one only kills, so that the stall after a death is seen by itself.
        let only_kills = seed.is_multiple_of(5);
        while at < LENGTH {
            let fault = match only_kills || steps.is_empty() {
                true => Fault::Kill(dice.below(MACHINES)),
                false => dice.fault(),
            };
            let lasts = dice.lasts(fault);
            let step = Step { at, lasts, fault };
            if is_possible(&steps, step) {
                steps.push(step);
            }
            at += match only_kills {
                true => lasts + dice.millis(1500, 2500),
                false => dice.millis(300, 2500),
            };
        }
        Self { seed, steps }
    }

    /// The plan as lines.
    pub(crate) fn told(&self) -> String {
        self.steps.iter().fold(String::new(), |mut text, step| {
            // Writing to a string does not fail.
            let (at, lasts) = (step.at.as_secs_f32(), step.lasts.as_secs_f32());
            writeln!(text, "  {at:5.1} s  {:?} for {lasts:.1} s", step.fault).ok();
            text
        })
    }
}

/// Whether one machine lives through it, nothing is hit twice at a time, and there is a replica to fail over to.
fn is_possible(before: &[Step], step: Step) -> bool {
    let ends = |step: &Step| step.at + step.lasts + Duration::from_secs(1);
    let running: Vec<Fault> = before
        .iter()
        .filter(|other| ends(other) > step.at)
        .map(|other| other.fault)
        .collect();
    let machine = |fault| match fault {
        Fault::Kill(machine) | Fault::Stop(machine) | Fault::Pause(machine) => Some(machine),
        _ => None,
    };
    let is_redis = |fault: &Fault| matches!(fault, Fault::RedisDies | Fault::RedisHangs);
    let is_database = |fault: &Fault| {
        matches!(
            fault,
            Fault::DatabaseRestarts | Fault::DatabaseCrashes | Fault::Failover
        )
    };
    if let Some(hit) = machine(step.fault) {
        let down: Vec<_> = running.iter().filter_map(|fault| machine(*fault)).collect();
        return !down.contains(&hit) && down.len() + 1 < MACHINES;
    }
    if is_redis(&step.fault) {
        return !running.iter().any(is_redis);
    }
    let has_failed_over = before.iter().any(|step| step.fault == Fault::Failover);
    let is_second = step.fault == Fault::Failover && has_failed_over;
    !running.iter().any(is_database) && !is_second
}

/// What is left to chance.
pub(crate) struct Dice(SeededRng);

impl Dice {
    /// Dice for `seed`, and for one use of it.
    pub(crate) fn of(seed: u64, purpose: u64) -> Self {
        Self(SeededRng::new(
            seed.wrapping_mul(1_000_003).wrapping_add(purpose),
        ))
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        let end = u64::try_from(end.max(1)).unwrap_or(1);
        usize::try_from(u64::from_be_bytes(bytes) % end).unwrap_or(0)
    }

    /// A time between two.
    pub(crate) fn millis(&mut self, from: u64, to: u64) -> Duration {
        let width = usize::try_from(to - from).unwrap_or(1);
        let more = u64::try_from(self.below(width)).unwrap_or(0);
        Duration::from_millis(from + more)
    }

    fn fault(&mut self) -> Fault {
        let machine = self.below(MACHINES);
        match self.below(20) {
            0..=4 => Fault::Kill(machine),
            5..=6 => Fault::Stop(machine),
            7..=10 => Fault::Pause(machine),
            11..=12 => Fault::RedisDies,
            13 => Fault::RedisHangs,
            14..=15 => Fault::DatabaseRestarts,
            16..=17 => Fault::DatabaseCrashes,
            _ => Fault::Failover,
        }
    }

    fn lasts(&mut self, fault: Fault) -> Duration {
        match fault {
            Fault::Kill(_) | Fault::Stop(_) => self.millis(200, 3000),
            // Some past their leases, some not.
            Fault::Pause(_) => self.millis(500, 7000),
            Fault::RedisDies | Fault::RedisHangs => self.millis(500, 4000),
            Fault::DatabaseRestarts | Fault::DatabaseCrashes => self.millis(50, 1500),
            Fault::Failover => self.millis(50, 800),
        }
    }
}
