//! The bench runs on both databases. The speed is not tested.

use serde_json::{Value, json};
use taskyard_testkit::postgres::shared;

use crate::sandbox::Sandbox;

fn is_positive(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number > 0.0)
}

fn measure(sandbox: &Sandbox, more: &[&str]) -> Value {
    let common = ["bench", "--tasks", "300", "--seconds", "1", "--samples", "20"];
    let results = sandbox.json(&[&common[..], more].concat());
    for rate in ["add_one", "add_hundred", "bulk", "drain"] {
        assert!(is_positive(&results[rate]["per_second"]), "{rate}: {results}");
    }
    assert_eq!((&results["bulk"]["count"], &results["drain"]["count"]), (&json!(300), &json!(300)));
    assert_eq!(results["pickup"]["samples"], 20);
    assert!(is_positive(&results["pickup"]["p99_ms"]) && is_positive(&results["drain"]["peak_memory_mib"]));
    let running = sandbox.json(&["task", "list", "--state", "doing"]);
    assert_eq!(running, json!([]), "its servers left");
    results
}

#[test]
fn it_measures_on_the_embedded_file() {
    let sandbox = Sandbox::new();
    let beside = ["--beside", "future=50,blocked=50,parked=50,finished=50,queues=5"];
    let results = measure(&sandbox, &[&["--only", "add,bulk,drain,pickup"][..], &beside].concat());
    assert_eq!((&results["backend"], &results["raw"]), (&json!("sqlite"), &Value::Null));
    let said = sandbox.run(&["bench", "--beside", "held=1"]);
    assert!(said.code != 0 && said.stderr.contains("PostgreSQL"), "{said:?}");
    assert_eq!(sandbox.run(&["bench", "--beside", "nothing=1"]).code, 2);
}

#[test]
fn it_measures_on_postgresql_with_the_bill_and_the_raw_figures() {
    let sandbox = Sandbox::on(shared().create_database());
    let results = measure(&sandbox, &["--only", "add,bulk,drain,pickup,raw", "--beside", "held=1"]);
    assert!(is_positive(&results["drain"]["bill"]["wal_bytes_per_task"]), "{results}");
    assert!(is_positive(&results["drain"]["connections"]));
    for table in ["plain", "ours"] {
        for limit in ["claim_per_second", "complete_per_second", "drain_per_second", "copy_per_second"] {
            assert!(is_positive(&results["raw"][table][limit]), "{table}.{limit}: {results}");
        }
    }
}
