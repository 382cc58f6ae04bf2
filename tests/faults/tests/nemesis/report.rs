//! The statistics of a run, and their bounds.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use crate::checker::Findings;
use crate::processes::{LEASE, Role};
use taskyard::ServerId;

/// Maximum time from lifting a fault to the next task that is done: the lease and the rescue, the longest deadline of a
/// connection for claims and ends (10 s), the longest pause before the next try, and as much again for a loaded
/// machine.
const RECOVERY_MAX: Duration = Duration::from_secs(30);
/// Maximum peak resident memory of a process.
const MEMORY_MAX_MIB: u64 = 96;

/// A run.
pub struct Report {
    pub name: String,
    pub faults: BTreeMap<String, usize>,
    /// Times at which faults were lifted while work was left, in seconds of the epoch, with their names.
    pub lifted: Vec<(f64, String)>,
    /// Times at which servers were killed, in seconds of the epoch.
    pub killed: HashMap<ServerId, f64>,
    pub struck_for: Duration,
    pub quiet_after: Duration,
    /// By role, in KiB.
    pub peaks: BTreeMap<Role, u64>,
    pub findings: Findings,
}

impl Report {
    /// Returns the time from each lifting to the next end, with the fault's name; the shortest first.
    fn recoveries(&self) -> Vec<(f64, &str)> {
        let mut all: Vec<(f64, &str)> = Vec::new();
        for (lifted, fault) in &self.lifted {
            let next = self.findings.done_at.partition_point(|at| at < lifted);
            if let Some(next) = self.findings.done_at.get(next) {
                all.push((next - lifted, fault));
            }
        }
        all.sort_by(|one, other| one.0.total_cmp(&other.0));
        all
    }

    /// Returns the time from each server's death by SIGKILL until each of its tasks was free again; the shortest first.
    fn rescues(&self) -> Vec<f64> {
        let freed = self.findings.freed_at.iter();
        let mut all: Vec<f64> = freed.filter_map(|(server, at)| Some(at - self.killed.get(server)?)).collect();
        // A process may have entered again before it was killed.
        all.retain(|time| *time >= 0.0);
        all.sort_by(f64::total_cmp);
        all
    }

    /// Returns a sentence for everything that violates a bound or a promise.
    pub fn broken(&self) -> Vec<String> {
        let mut broken = self.findings.broken.clone();
        if let Some((slowest, fault)) = self.recoveries().last()
            && *slowest > RECOVERY_MAX.as_secs_f64()
        {
            broken.push(format!("after `{fault}` nothing ended for {slowest:.1} s"));
        }
        if let Some(slowest) = self.rescues().last()
            && *slowest > RECOVERY_MAX.as_secs_f64()
        {
            broken.push(format!("a task of a server that was killed was free after {slowest:.1} s"));
        }
        for (role, peak) in &self.peaks {
            if peak / 1_024 > MEMORY_MAX_MIB {
                broken.push(format!("a {role:?} took {} MiB", peak / 1_024));
            }
        }
        broken
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = &self.findings;
        let faults: usize = self.faults.values().sum();
        writeln!(f, "{}", self.name)?;
        writeln!(f, "  faults           {faults} in {:.0} s: {:?}", self.struck_for.as_secs_f64(), self.faults)?;
        writeln!(
            f,
            "  additions        {} begun, {} acknowledged, {} refused, {} merged, {} stored whose answer was lost",
            found.begun, found.acknowledged, found.refused, found.merged, found.unknown_stored
        )?;
        let states = taskyard::TaskState::ALL.iter().zip(found.by_state).filter(|(_, count)| *count > 0);
        let states: Vec<String> = states.map(|(state, count)| format!("{count} {state}")).collect();
        writeln!(f, "  ends             {}; {} runs, {} repeated", states.join(", "), found.runs, found.runs_repeated)?;
        writeln!(f, "  nothing lost     {} lost, {} invented", found.lost, found.invented)?;
        writeln!(f, "  one decision     {} decided twice", found.decided_twice)?;
        let recoveries = self.recoveries();
        if let Some((slowest, fault)) = recoveries.last() {
            let median = recoveries[recoveries.len() / 2].0;
            writeln!(
                f,
                "  recovery         {} measured: median {median:.2} s, longest {slowest:.2} s ({fault})",
                recoveries.len()
            )?;
        }
        let rescues = self.rescues();
        if let Some(slowest) = rescues.last() {
            let median = rescues[rescues.len() / 2];
            writeln!(
                f,
                "  rescue           {} tasks of killed servers free again: median {median:.2} s, longest {slowest:.2} s (lease {LEASE} s)",
                rescues.len()
            )?;
        }
        writeln!(f, "  quiet            {:.1} s after the last fault", self.quiet_after.as_secs_f64())?;
        let peaks: Vec<String> =
            self.peaks.iter().map(|(role, peak)| format!("{role:?} {} MiB", peak / 1_024)).collect();
        writeln!(f, "  peak memory      {}", peaks.join(", "))
    }
}
