//! The statements, one file each under `sql/<entity>/<verb>.sql`.
//!
//! No statement is built from input: values are bound as parameters. A statement is prepared once per connection and
//! cached.

/// Returns the text of `sql/<entity>/<verb>.sql`.
macro_rules! sql {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/sql/", $name, ".sql"))
    };
}
pub(crate) use sql;

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    fn migrated() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        for migration in crate::migrate::MIGRATIONS {
            connection.execute_batch(migration.sql).unwrap();
        }
        connection
    }

    /// Returns the plan of a statement, one line per step.
    fn plan(connection: &Connection, sql: &str) -> Vec<String> {
        let mut statement = connection.prepare(&format!("explain query plan {sql}")).unwrap();
        let count = statement.parameter_count();
        let mut rows = statement.query(rusqlite::params_from_iter(vec![None::<i64>; count])).unwrap();
        let mut steps = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            steps.push(row.get(3).unwrap());
        }
        steps
    }

    /// No frequent statement reads a whole table or sorts its result.
    #[test]
    fn hot_statements_search_and_never_sort() {
        let connection = migrated();
        let hot = [
            sql!("ready/scan"),
            sql!("ready/scan_after"),
            sql!("ready/next_lane"),
            sql!("ready/delete"),
            sql!("ready/aged"),
            sql!("ready/due"),
            sql!("ready/next_due"),
            sql!("deadline/next_expiry"),
            sql!("task/claimable"),
            sql!("task/start"),
            sql!("task/find"),
            sql!("task/find_by_order"),
            sql!("task/done"),
            sql!("task/save"),
            sql!("task/get"),
            sql!("task/snapshot"),
            sql!("attempt/after"),
            sql!("task/list"),
            sql!("task/select"),
            sql!("task/final"),
            sql!("task/prunable"),
            sql!("waiting/due"),
            sql!("waiting/parked_for"),
            sql!("waiting/close_parent"),
            sql!("edge/untold"),
            sql!("edge/all"),
            sql!("edge/parents"),
            sql!("edge/children"),
            sql!("edge/open_count"),
            sql!("edge/unfinished_child"),
            sql!("dead/untold"),
            sql!("deadline/due"),
            sql!("deadline/delete_task"),
            sql!("claim/get"),
            sql!("claim/of_server"),
            sql!("signal/of_server"),
            sql!("server/alive"),
            sql!("attempt/list"),
            sql!("log/list"),
            sql!("log/delete"),
            sql!("unique_key/holder"),
            sql!("refused/get"),
            sql!("end_aside/has"),
            sql!("task/held"),
            sql!("claim/page"),
            sql!("kind/of_task"),
            sql!("ready/lane_from"),
            sql!("ready/between"),
            sql!("ready/after"),
        ];
        for sql in hot {
            for step in plan(&connection, sql) {
                // The rows of a filter's JSON array are few.
                let small = step.contains("json_each");
                assert!(small || !step.starts_with("SCAN"), "{step} in: {sql}");
                // A server's claims and a task's edges are nearly sorted by their own index already.
                assert!(!step.contains("TEMP B-TREE") || sql.contains("ty_edge"), "{step} in: {sql}");
            }
        }
    }

    #[test]
    fn timers_are_read_off_their_own_index() {
        let connection = migrated();
        for sql in [sql!("waiting/due"), sql!("waiting/next_due")] {
            let steps = plan(&connection, sql);
            assert!(steps.iter().any(|step| step.contains("ty_waiting_due")), "{steps:?}");
        }
    }
}
