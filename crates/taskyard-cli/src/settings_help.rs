//! The table of settings in the long help of the command.

use taskyard_core::settings::SETTINGS;

/// Returns the table: for each setting its name in files, its name in the environment, its description and its default.
pub(crate) fn table() -> String {
    use std::fmt::Write as _;
    let mut text = String::from(
        "SETTINGS\n  Read in rising order from taskyard.toml, [tool.taskyard] in pyproject.toml and .env, all\n  \
         in the project's root (the nearest directory upwards with taskyard.toml, pyproject.toml,\n  \
         Cargo.toml or .git), from the environment, and from flags (--set name=value).\n\n",
    );
    for setting in SETTINGS {
        let default =
            if setting.default.is_empty() { String::new() } else { format!(" [default: {}]", setting.default) };
        let _ = writeln!(text, "  {:<26} {}\n      {}{default}", setting.name, setting.env, setting.help);
    }
    text.push_str(
        "\nDATABASE\n  --database, else TASKYARD_DATABASE_URL or `database` in a file, else DATABASE_URL if it\n  \
         is PostgreSQL (an application's SQLite file is never used), else .taskyard/queue.db in\n  \
         the project's root. `demo` uses its own: DIR/.taskyard/demo.db, unless --database is\n  \
         given.\n\nLOG\n  \
         TASKYARD_LOG or RUST_LOG: a level (warn, info, debug) or target=level, to stderr.\n\nEXIT CODES\n  \
         0 done                             1 the work failed (a task, a file, an unhealthy queue)\n  \
         2 wrong usage or settings          3 the database\n  \
         4 not found or in the wrong state  75 the server must be restarted\n  \
         130 interrupted\n",
    );
    text
}
