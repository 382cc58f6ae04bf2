//! The figures of the bench, as JSON and as text.

use std::time::Duration;

use serde::Serialize;
use taskyard::{Result, Taskyard};

use super::postgres::{Bill, Observer};
use super::raw::Raw;

/// A count over a time, with its rate.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Rate {
    pub count: u64,
    pub seconds: f64,
    pub per_second: f64,
}

impl Rate {
    pub(super) fn new(count: u64, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        Self { count, seconds, per_second: count as f64 / seconds }
    }
}

/// A drain with its cost.
#[derive(Debug, Serialize)]
pub(super) struct Drain {
    #[serde(flatten)]
    pub rate: Rate,
    pub bill: Option<Bill>,
    pub connections: Option<i64>,
    pub peak_memory_mib: f64,
}

/// Percentiles in milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Latency {
    pub samples: usize,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

impl Latency {
    pub(super) fn new(mut nanoseconds: Vec<u64>) -> Self {
        nanoseconds.sort_unstable();
        let at = |part: f64| {
            let place = ((nanoseconds.len() as f64 * part) as usize).min(nanoseconds.len().saturating_sub(1));
            nanoseconds.get(place).map_or(0.0, |value| *value as f64 / 1e6)
        };
        Self { samples: nanoseconds.len(), p50_ms: at(0.5), p95_ms: at(0.95), p99_ms: at(0.99), max_ms: at(1.0) }
    }
}

/// An idle server.
#[derive(Debug, Serialize)]
pub(super) struct Rest {
    pub cpu_percent: f64,
    pub memory_mib: f64,
}

/// All figures of a run; a part that was not measured is `None`.
#[derive(Debug, Serialize)]
pub(super) struct BenchResults {
    pub backend: &'static str,
    pub database: String,
    pub server_version: Option<String>,
    pub cpus: usize,
    pub beside: Vec<String>,
    pub add_one: Option<Rate>,
    pub add_hundred: Option<Rate>,
    pub bulk: Option<Rate>,
    pub drain: Option<Drain>,
    pub pickup: Option<Latency>,
    pub rest: Option<Rest>,
    pub raw: Option<Raw>,
}

impl BenchResults {
    pub(super) async fn new(queue: &Taskyard, observer: Option<&Observer>) -> Result<Self> {
        let server_version = match observer {
            Some(observer) => Some(observer.version().await?),
            None => None,
        };
        Ok(Self {
            backend: queue.store().backend(),
            database: queue.store().address(),
            server_version,
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            beside: Vec::new(),
            add_one: None,
            add_hundred: None,
            bulk: None,
            drain: None,
            pickup: None,
            rest: None,
            raw: None,
        })
    }

    pub(super) fn print(&self) {
        println!("{} {} on {} CPUs", self.backend, self.server_version.as_deref().unwrap_or(""), self.cpus);
        for beside in &self.beside {
            println!("beside: {beside}");
        }
        let rate = |name: &str, rate: &Option<Rate>| {
            if let Some(rate) = rate {
                line(name, format!("{:>10.0} /s   ({} in {:.2} s)", rate.per_second, rate.count, rate.seconds));
            }
        };
        rate("awaited additions, 1 caller", &self.add_one);
        rate("awaited additions, 100 callers", &self.add_hundred);
        rate("bulk", &self.bulk);
        if let Some(drain) = &self.drain {
            rate("drain until durable", &Some(drain.rate));
            if let Some(bill) = &drain.bill {
                line("  WAL per task", format!("{:>10.0} bytes", bill.wal_bytes_per_task));
                match bill.statements_per_task {
                    Some(statements) => line("  statements per task", format!("{statements:>10.4}")),
                    None => line("  statements per task", "unknown: pg_stat_statements is not loaded".into()),
                }
            }
            if let Some(connections) = drain.connections {
                line("  connections", format!("{connections:>10}"));
            }
            line("  peak memory", format!("{:>10.1} MiB", drain.peak_memory_mib));
        }
        if let Some(pickup) = &self.pickup {
            line(
                "pick-up, two processes",
                format!(
                    "p50 {:.2} ms   p95 {:.2} ms   p99 {:.2} ms   max {:.2} ms   ({} samples)",
                    pickup.p50_ms, pickup.p95_ms, pickup.p99_ms, pickup.max_ms, pickup.samples
                ),
            );
        }
        if let Some(rest) = &self.rest {
            line("an idle server", format!("{:>10.2} % of a core, {:.1} MiB", rest.cpu_percent, rest.memory_mib));
        }
        if let Some(raw) = &self.raw {
            raw.print(self.drain.as_ref().map(|drain| drain.rate.per_second), self.bulk.map(|bulk| bulk.per_second));
        }
    }
}

pub(super) fn line(name: &str, value: String) {
    println!("{name:<34} {value}");
}
