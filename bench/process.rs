//! Owns what the system says of the processes of a server: CPU time and memory, of a whole tree. Must never count a
//! process of anybody else.

use std::{collections::HashMap, fs};

/// Units of CPU time in a second, fixed in Linux for programs.
const TICKS: f64 = 100.0;

struct Process {
    parent: u32,
    ticks: u64,
    /// Those of its ended children among them.
    of_children: u64,
}

/// CPU seconds that the processes `roots` and all their descendants have used, those that have ended included.
pub(crate) fn cpu_seconds(roots: &[u32]) -> f64 {
    let all = processes();
    let ticks: u64 = tree(roots, &all).iter().map(|id| all[id].ticks).sum();
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let ticks = ticks as f64;
    ticks / TICKS
}

/// CPU seconds that this process has used, without its children.
pub(crate) fn own_cpu_seconds() -> f64 {
    let own = read(std::process::id()).map_or(0, |own| own.ticks - own.of_children);
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let ticks = own as f64;
    ticks / TICKS
}

/// Resident bytes of the processes `roots` and all their descendants; pages that several share are shared out.
pub(crate) fn resident_bytes(roots: &[u32]) -> f64 {
    let all = processes();
    let of = |id: &u32| {
        let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
        let line = text.lines().find(|line| line.starts_with("Pss:"))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok()
    };
    tree(roots, &all).iter().filter_map(of).sum::<f64>() * 1024.0
}

/// How many files the processes `roots` and all their descendants have open, and how many of those are sockets.
pub(crate) fn open_files(roots: &[u32]) -> (usize, usize) {
    let open = tree(roots, &processes()).into_iter().flat_map(|id| {
        let folder = fs::read_dir(format!("/proc/{id}/fd"));
        folder.into_iter().flatten().flatten()
    });
    open.fold((0, 0), |(files, sockets), file| {
        let target = fs::read_link(file.path()).unwrap_or_default();
        let is_socket = target.to_string_lossy().starts_with("socket:");
        (files + 1, sockets + usize::from(is_socket))
    })
}

fn processes() -> HashMap<u32, Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return HashMap::new();
    };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(|id| Some((id, read(id)?))).collect()
}

fn read(id: u32) -> Option<Process> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in parentheses may hold anything. After it: state, parent, …, and as 12th to 15th the CPU time of the
    // process in user and kernel mode, and that of its ended children.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = fields.get(11..15)?;
    let sum = |ticks: &[&str]| ticks.iter().filter_map(|t| t.parse::<u64>().ok()).sum();
    Some(Process {
        parent: fields.get(1)?.parse().ok()?,
        ticks: sum(ticks),
        of_children: sum(&ticks[2..]),
    })
}

fn tree(roots: &[u32], all: &HashMap<u32, Process>) -> Vec<u32> {
    let mut found: Vec<u32> = roots
        .iter()
        .copied()
        .filter(|id| all.contains_key(id))
        .collect();
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        let children = all.iter().filter(|(_, process)| process.parent == parent);
        let children: Vec<u32> = children
            .map(|(id, _)| *id)
            .filter(|id| !found.contains(id))
            .collect();
        found.extend(children);
    }
    found
}
