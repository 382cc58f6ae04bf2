//! The table of settings, which feeds the parser, the command's help and the documentation.
//!
//! The command locates the sources of values (files, `.env`, environment, flags) and passes them as layers in rising
//! order of precedence; [`Settings::from_layers`] applies them. An unknown name is an error in a configuration file of
//! Taskyard, and is ignored in the environment, which contains other programs' variables too.

mod environment;

use std::borrow::Cow;
use std::time::Duration;

use crate::queue_order::{self, OrderWord, QueueOrder};
use crate::redact::redact;
use crate::store::Retention;
use crate::{Error, Limits, Namespace, Result, duration};

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The name in `taskyard.toml` and `[tool.taskyard]`.
    pub name: &'static str,
    /// The name in the environment.
    pub env: &'static str,
    /// Default, as text.
    pub default: &'static str,
    /// Help, in a single line.
    pub help: &'static str,
    set: fn(&mut Settings, &str) -> Result<(), String>,
}

/// The value of every setting. `Debug` output contains no values, because addresses and secrets are among them.
#[derive(Clone, PartialEq)]
pub struct Settings {
    /// Address of the database; `None` = determined by the command.
    pub database: Option<String>,
    /// Direct address for notifications if the database's address is that of a pooler.
    pub listen_url: Option<String>,
    /// The application whose functions workers run: `module:attribute` (Python).
    pub app: Option<String>,
    /// More modules whose functions may run, `package.*` with all below (Python).
    pub include: Vec<String>,
    /// Whether only Python functions with `@task`, and task classes, may run.
    pub only_declared: bool,
    /// The namespace of the kinds that are added and served; `None` for no namespace.
    pub namespace: Option<Namespace>,
    /// Secret that signs serialised functions and values; `None` = the project's own secret.
    pub secret: Option<String>,
    /// Former secrets whose signatures are still accepted.
    pub secrets_accepted: Vec<String>,
    /// Maximum number of workers of a server.
    pub max_workers: usize,
    /// Number of workers kept when idle.
    pub min_workers: usize,
    /// Number of tasks after which a worker process is replaced; 0 = never.
    pub worker_tasks_max: u64,
    /// Memory in bytes above which a worker process is replaced; 0 = never.
    pub worker_memory_max: u64,
    /// Maximum memory of a worker process in bytes: allocating more fails in the task; 0 = no limit.
    pub worker_memory_limit: u64,
    /// Number of tasks that one worker runs at once.
    pub concurrency: usize,
    /// Queues that the server serves; all if empty.
    pub queues: Vec<String>,
    /// Weights of these queues, if any.
    pub queue_weights: Vec<Option<u32>>,
    /// Order in which the queues are served; see [`Settings::order`].
    pub queue_order: OrderWord,
    /// The server's label; `None` = the host's name.
    pub server_name: Option<String>,
    /// Time after which an idle worker exits.
    pub worker_idle_timeout: Duration,
    /// Polling interval while notifications are off or broken.
    pub polling_interval: Duration,
    /// Polling interval while notifications work.
    pub fallback_polling_interval: Duration,
    /// Default maximum duration of an attempt; `None` = no limit.
    pub task_timeout: Option<Duration>,
    /// Default number of retries.
    pub max_retries: u32,
    /// Whether NOTIFY and LISTEN are used.
    pub use_postgresql_notify: bool,
    /// Notification channel for new work.
    pub notify_channel: String,
    /// Duration of the lease that each heartbeat renews.
    pub lease: Duration,
    /// Interval between heartbeats.
    pub heartbeat_interval: Duration,
    /// Interval between checks for dead servers.
    pub rescue_interval: Duration,
    /// Time for which running tasks may continue at a shutdown.
    pub shutdown_grace: Duration,
    /// Time for which a body may ignore its cancellation before its thread or process is given up.
    pub cancel_grace: Duration,
    /// Time for which a body may continue after its time limit before its thread or process is given up.
    pub timeout_grace: Duration,
    /// Retention of finished tasks.
    pub retention: Retention,
    /// Whether programs migrate the schema at start.
    pub auto_migrate: bool,
    /// Whether the documented views exist in the application's schema.
    pub views: bool,
    /// `queue status` is unhealthy when an enqueued task is older than this.
    pub unhealthy_age: Duration,
    /// Size limits.
    pub limits: Limits,
    /// More fields may be added: a literal must end in `..Default::default()`.
    #[doc(hidden)]
    pub unlisted: crate::Unlisted,
}

/// The table of all settings.
pub const SETTINGS: &[Setting] = &[
    row(
        "database",
        "TASKYARD_DATABASE_URL",
        "",
        "postgresql://… or a SQLite file; see below for the default",
        |s, v| put(&mut s.database, Some(v.to_owned())),
    ),
    row(
        "listen_url",
        "TASKYARD_LISTEN_URL",
        "",
        "direct PostgreSQL address for notifications behind a pooler",
        |s, v| put(&mut s.listen_url, Some(v.to_owned())),
    ),
    row("app", "TASKYARD_APP", "", "the Python application whose functions workers run: module:attribute", |s, v| {
        put(&mut s.app, Some(v.to_owned()))
    }),
    row(
        "include",
        "TASKYARD_INCLUDE",
        "",
        "further Python modules whose functions may run, separated by commas (`mails.*` with all below)",
        |s, v| put(&mut s.include, words(v)),
    ),
    row(
        "only_declared",
        "TASKYARD_ONLY_DECLARED",
        "false",
        "run only Python functions that carry @task, and classes of tasks",
        |s, v| put(&mut s.only_declared, boolean(v)?),
    ),
    row(
        "namespace",
        "TASKYARD_NAMESPACE",
        "",
        "separates applications whose modules have the same name: `shop` adds and serves `shop/app:report`",
        |s, v| put(&mut s.namespace, Some(v.parse()?)),
    ),
    row("secret", "TASKYARD_SECRET", "", "signs serialised functions; else .taskyard/secret is used", |s, v| {
        put(&mut s.secret, Some(v.to_owned()))
    }),
    row(
        "secrets_accepted",
        "TASKYARD_SECRETS_ACCEPTED",
        "",
        "former secrets whose signatures are still accepted, separated by commas",
        |s, v| put(&mut s.secrets_accepted, words(v)),
    ),
    row("max_workers", "QUEUE_MAX_WORKERS", "CPU count", "most workers of a server", |s, v| {
        put(&mut s.max_workers, count(v, 1, 4_096)?)
    }),
    row("min_workers", "QUEUE_MIN_WORKERS", "0", "workers that are kept when idle", |s, v| {
        put(&mut s.min_workers, count(v, 0, 4_096)?)
    }),
    row(
        "worker_tasks_max",
        "TASKYARD_WORKER_TASKS_MAX",
        "10000",
        "tasks until a worker process is replaced (0 = never)",
        |s, v| put(&mut s.worker_tasks_max, count(v, 0, usize::MAX)? as u64),
    ),
    row(
        "worker_memory_max",
        "TASKYARD_WORKER_MEMORY_MAX",
        "0",
        "bytes at which a worker process is replaced (0 = never)",
        |s, v| put(&mut s.worker_memory_max, count(v, 0, usize::MAX)? as u64),
    ),
    row(
        "worker_memory_limit",
        "TASKYARD_WORKER_MEMORY_LIMIT",
        "0",
        "most bytes that a worker process can allocate: a larger allocation fails in the task (0 = no limit)",
        |s, v| put(&mut s.worker_memory_limit, count(v, 0, usize::MAX)? as u64),
    ),
    row("concurrency", "TASKYARD_CONCURRENCY", "10", "async tasks that one worker runs at once", |s, v| {
        put(&mut s.concurrency, count(v, 1, 100_000)?)
    }),
    row(
        "queues",
        "TASKYARD_QUEUES",
        "",
        "queues served, separated by commas, with weights as in `critical:3,default:1`; all without it",
        |s, v| {
            (s.queues, s.queue_weights) = queue_order::parse(v)?.into_iter().unzip();
            Ok(())
        },
    ),
    row(
        "queue_order",
        "TASKYARD_QUEUE_ORDER",
        "priority",
        "priority (over all queues), strict (in the given order) or weights (proportionally)",
        |s, v| put(&mut s.queue_order, v.parse()?),
    ),
    row("server_name", "TASKYARD_SERVER_NAME", "host name", "the server's label", |s, v| {
        put(&mut s.server_name, Some(v.to_owned()))
    }),
    row("worker_idle_timeout", "QUEUE_WORKER_IDLE_TIMEOUT", "60", "seconds until an idle worker ends", |s, v| {
        put(&mut s.worker_idle_timeout, duration::parse(v)?)
    }),
    row(
        "polling_interval",
        "QUEUE_POLLING_INTERVAL",
        "2",
        "seconds between polls while notifications are off or broken",
        |s, v| put(&mut s.polling_interval, interval(v)?),
    ),
    row(
        "fallback_polling_interval",
        "QUEUE_FALLBACK_POLLING_INTERVAL",
        "30",
        "seconds between polls while notifications work",
        |s, v| put(&mut s.fallback_polling_interval, interval(v)?),
    ),
    row("task_timeout", "QUEUE_TASK_TIMEOUT", "300", "seconds one attempt may take (0 = no limit)", |s, v| {
        put(&mut s.task_timeout, Some(duration::parse(v)?).filter(|timeout| !timeout.is_zero()))
    }),
    row("max_retries", "QUEUE_MAX_RETRIES", "3", "retries after the first failure", |s, v| {
        put(&mut s.max_retries, u32::try_from(count(v, 0, 1_000_000)?).unwrap_or(u32::MAX))
    }),
    row("use_postgresql_notify", "QUEUE_USE_POSTGRESQL_NOTIFY", "true", "use NOTIFY and LISTEN", |s, v| {
        put(&mut s.use_postgresql_notify, boolean(v)?)
    }),
    row("notify_channel", "QUEUE_NOTIFY_CHANNEL", "queue_new_task", "notification channel for new tasks", |s, v| {
        put(&mut s.notify_channel, channel(v)?)
    }),
    row("lease", "TASKYARD_LEASE", "30", "seconds that a server counts as alive after a heartbeat", |s, v| {
        put(&mut s.lease, interval(v)?)
    }),
    row("heartbeat_interval", "TASKYARD_HEARTBEAT_INTERVAL", "5", "seconds between heartbeats", |s, v| {
        put(&mut s.heartbeat_interval, interval(v)?)
    }),
    row("rescue_interval", "TASKYARD_RESCUE_INTERVAL", "5", "seconds between checks for lost servers", |s, v| {
        put(&mut s.rescue_interval, interval(v)?)
    }),
    row("shutdown_grace", "TASKYARD_SHUTDOWN_GRACE", "25", "seconds that running tasks get at a shutdown", |s, v| {
        put(&mut s.shutdown_grace, duration::parse(v)?)
    }),
    row(
        "cancel_grace",
        "TASKYARD_CANCEL_GRACE",
        "30",
        "seconds that a body may ignore its cancellation before its thread or process is abandoned",
        |s, v| put(&mut s.cancel_grace, duration::parse(v)?),
    ),
    row(
        "timeout_grace",
        "TASKYARD_TIMEOUT_GRACE",
        "2",
        "seconds that a body may go on after its time limit before its thread or process is abandoned",
        |s, v| put(&mut s.timeout_grace, duration::parse(v)?),
    ),
    row("retention_done", "TASKYARD_RETENTION_DONE", "7d", "how long done tasks are kept", |s, v| {
        put(&mut s.retention.done, duration::parse(v)?)
    }),
    row(
        "retention_failed",
        "TASKYARD_RETENTION_FAILED",
        "30d",
        "how long failed, cancelled and stopped tasks are kept",
        |s, v| put(&mut s.retention.failed, duration::parse(v)?),
    ),
    row(
        "retention_done_count",
        "TASKYARD_RETENTION_DONE_COUNT",
        "0",
        "most done tasks that are kept (0 = no limit)",
        |s, v| put(&mut s.retention.done_count, count(v, 0, usize::MAX)? as u64),
    ),
    row(
        "retention_failed_count",
        "TASKYARD_RETENTION_FAILED_COUNT",
        "0",
        "most dead letters that are kept (0 = no limit)",
        |s, v| put(&mut s.retention.failed_count, count(v, 0, usize::MAX)? as u64),
    ),
    row("auto_migrate", "TASKYARD_AUTO_MIGRATE", "true", "bring the schema up to date at start", |s, v| {
        put(&mut s.auto_migrate, boolean(v)?)
    }),
    row("views", "TASKYARD_VIEWS", "true", "create queued_tasks, queued_task_logs, queued_task_workers", |s, v| {
        put(&mut s.views, boolean(v)?)
    }),
    row(
        "unhealthy_age",
        "TASKYARD_UNHEALTHY_AGE",
        "5m",
        "`queue status` fails if a task has been runnable for longer",
        |s, v| put(&mut s.unhealthy_age, duration::parse(v)?),
    ),
    row("arguments_bytes_max", "TASKYARD_ARGUMENTS_BYTES_MAX", "1048576", "largest arguments", |s, v| {
        put(&mut s.limits.arguments_bytes_max, count(v, 1, 1 << 28)?)
    }),
    row(
        "arguments_filled_bytes_max",
        "TASKYARD_ARGUMENTS_FILLED_BYTES_MAX",
        "16777216",
        "largest arguments with the results of parents in them",
        |s, v| put(&mut s.limits.arguments_filled_bytes_max, count(v, 1, 1 << 28)?),
    ),
    row("result_bytes_max", "TASKYARD_RESULT_BYTES_MAX", "1048576", "largest result", |s, v| {
        put(&mut s.limits.result_bytes_max, count(v, 1, 1 << 28)?)
    }),
    row("log_line_bytes_max", "TASKYARD_LOG_LINE_BYTES_MAX", "65536", "longest log line", |s, v| {
        put(&mut s.limits.log_line_bytes_max, count(v, 1, 1 << 28)?)
    }),
    row("context_bytes_max", "TASKYARD_CONTEXT_BYTES_MAX", "262144", "largest context", |s, v| {
        put(&mut s.limits.context_bytes_max, count(v, 1, 1 << 28)?)
    }),
    row("name_bytes_max", "TASKYARD_NAME_BYTES_MAX", "255", "longest name (kind, queue, tag, key)", |s, v| {
        put(&mut s.limits.name_bytes_max, count(v, 1, 1 << 12)?)
    }),
    row("nesting_max", "TASKYARD_NESTING_MAX", "64", "deepest nesting of arguments, results and context", |s, v| {
        put(&mut s.limits.nesting_max, count(v, 1, 120)?)
    }),
];

const fn row(
    name: &'static str,
    env: &'static str,
    default: &'static str,
    help: &'static str,
    set: fn(&mut Settings, &str) -> Result<(), String>,
) -> Setting {
    Setting { name, env, default, help, set }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            database: None,
            listen_url: None,
            app: None,
            include: Vec::new(),
            only_declared: false,
            namespace: None,
            secret: None,
            secrets_accepted: Vec::new(),
            max_workers: std::thread::available_parallelism().map_or(1, usize::from),
            min_workers: 0,
            worker_tasks_max: 10_000,
            worker_memory_max: 0,
            worker_memory_limit: 0,
            concurrency: 10,
            queues: Vec::new(),
            queue_weights: Vec::new(),
            queue_order: OrderWord::Priority,
            server_name: None,
            worker_idle_timeout: Duration::from_secs(60),
            polling_interval: Duration::from_secs(2),
            fallback_polling_interval: Duration::from_secs(30),
            task_timeout: Some(Duration::from_secs(300)),
            max_retries: 3,
            use_postgresql_notify: true,
            notify_channel: "queue_new_task".into(),
            lease: Duration::from_secs(30),
            heartbeat_interval: Duration::from_secs(5),
            rescue_interval: Duration::from_secs(5),
            shutdown_grace: Duration::from_secs(25),
            cancel_grace: Duration::from_secs(30),
            timeout_grace: Duration::from_secs(2),
            retention: Retention::default(),
            auto_migrate: true,
            views: true,
            unhealthy_age: Duration::from_secs(300),
            limits: Limits::default(),
            unlisted: crate::Unlisted::default(),
        }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}

/// Values from one source.
#[derive(Clone)]
pub struct Layer {
    /// The source, for messages: a file, "the environment", "the command line".
    pub place: String,
    /// Names (as in the table, or as in the environment) and values.
    pub values: Vec<(String, String)>,
    /// Whether an unknown name is an error.
    pub strict: bool,
}

/// Reason given for refusing a value that may contain a password and is therefore not repeated.
const ADDRESS: &str = "it looks like the address of a database, which is the setting `database`";

impl Settings {
    /// Applies layers in rising order of precedence to the defaults.
    ///
    /// # Errors
    /// [`Error::Setting`] with the name, the source and what would be valid.
    #[doc(hidden)]
    pub fn from_layers(layers: &[Layer]) -> Result<Self> {
        let mut settings = Self::default();
        for layer in layers {
            for (name, value) in &layer.values {
                let Some(setting) = Setting::find(name) else {
                    if layer.strict {
                        return Err(Error::Setting {
                            name: format!("{} ({})", redact(name), layer.place),
                            why: "there is no such setting".into(),
                        });
                    }
                    continue;
                };
                let value = value.trim();
                // An empty value counts as unset, except for the namespace: otherwise applications would share one by
                // mistake.
                if value.is_empty() && setting.name != "namespace" {
                    continue;
                }
                (setting.set)(&mut settings, value).map_err(|why| Error::Setting {
                    name: format!("{name} ({})", layer.place),
                    why: if matches!(redact(value), Cow::Owned(_)) { ADDRESS.into() } else { why },
                })?;
            }
        }
        if settings.heartbeat_interval * 2 > settings.lease {
            return Err(Error::Setting {
                name: "heartbeat_interval".into(),
                why: format!(
                    "{:?} is over half of the lease of {:?}: one late heartbeat would lose the server's tasks",
                    settings.heartbeat_interval, settings.lease
                ),
            });
        }
        settings.order()?;
        Ok(settings)
    }

    /// Returns the order in which the queues are served.
    ///
    /// # Errors
    /// [`Error::Setting`] if queues, weights and order do not fit together.
    pub fn order(&self) -> Result<QueueOrder> {
        queue_order::decide(self.queues.len(), &self.queue_weights, self.queue_order)
            .map_err(|why| Error::Setting { name: "queue_order".into(), why })
    }
}

impl Setting {
    /// Returns the row of a name: the table's, the environment's, or one with the alternative prefix `QUEUED_TASK_…`.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        let older = name.strip_prefix("QUEUED_TASK_").map(|rest| format!("QUEUE_{rest}"));
        let name = older.as_deref().unwrap_or(name);
        SETTINGS.iter().find(|setting| setting.name == name || setting.env == name)
    }
}

/// Splits a list of names separated by commas.
fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn put<T>(place: &mut T, value: T) -> Result<(), String> {
    *place = value;
    Ok(())
}

fn count(text: &str, min: usize, max: usize) -> Result<usize, String> {
    match text.replace('_', "").parse::<usize>() {
        Ok(value) if (min..=max).contains(&value) => Ok(value),
        _ => Err(format!("`{text}` is not a whole number from {min} to {max}")),
    }
}

fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("`{text}` is neither true nor false")),
    }
}

/// Checks that a name is a plain PostgreSQL identifier: the channel is written into LISTEN, which has no parameters.
fn channel(text: &str) -> Result<String, String> {
    let plain = text
        .chars()
        .enumerate()
        .all(|(at, char)| char == '_' || char.is_ascii_lowercase() || (at > 0 && char.is_ascii_digit()));
    if plain && text.len() <= 63 {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not a name of a-z, 0-9 and _"))
    }
}

/// Parses the interval of a repeated action: zero would spin.
fn interval(text: &str) -> Result<Duration, String> {
    let duration = duration::parse(text)?;
    if duration < Duration::from_millis(10) { Err(format!("`{text}` is under 10 ms")) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(strict: bool, values: &[(&str, &str)]) -> Layer {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Layer { place: "a test".into(), values, strict }
    }

    #[test]
    fn later_layers_win_and_all_names_of_a_setting_work() {
        let settings = Settings::from_layers(&[
            layer(true, &[("max_workers", "2"), ("task_timeout", "1m")]),
            layer(false, &[("QUEUE_MAX_WORKERS", "3"), ("HOME", "/")]),
            layer(false, &[("QUEUED_TASK_MAX_WORKERS", "4"), ("QUEUE_POLLING_INTERVAL", "0.5")]),
        ])
        .unwrap();
        assert_eq!(settings.max_workers, 4);
        assert_eq!(settings.task_timeout, Some(Duration::from_secs(60)));
        assert_eq!(settings.polling_interval, Duration::from_millis(500));
    }

    #[test]
    fn defaults_in_the_table_are_the_defaults() {
        for setting in SETTINGS.iter().filter(|setting| {
            setting.default.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
                && !setting.default.is_empty()
        }) {
            let settings = Settings::from_layers(&[layer(true, &[(setting.name, setting.default)])]).unwrap();
            assert_eq!(settings, Settings::default(), "{}", setting.name);
        }
    }

    #[test]
    fn bad_values_say_what_would_be_right() {
        for (name, value) in [
            ("max_workers", "0"),
            ("max_workers", "many"),
            ("polling_interval", "0"),
            ("task_timeout", "soon"),
            ("task_timeout", "-1"),
            ("use_postgresql_notify", "maybe"),
            ("notify_channel", "x; drop table"),
            ("heartbeat_interval", "20"),
            ("queues", "a:0"),
            ("queues", "a,a"),
            ("queue_order", "random"),
            ("queue_order", "strict"),
            ("nothing", "1"),
        ] {
            let error = Settings::from_layers(&[layer(true, &[(name, value)])]).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn an_address_in_place_of_a_name_is_not_repeated() {
        for name in ["postgresql://u:s3cret@h/d", "u:s3cret@h/d", "*:*:*:u:s3cret", "host=h password=s3cret"] {
            let error = Settings::from_layers(&[layer(true, &[(name, "1")])]).unwrap_err().to_string();
            assert!(error.contains("no such setting") && !error.contains("cret"), "{error}");
        }
    }
}
