//! Tests the shop over real HTTP, on both databases.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::time::{Duration, Instant};

use orders_example::{PriceList, router};
use serde_json::{Value, json};
use taskyard::Taskyard;
use taskyard_testkit::backend::Backend;

struct Shop {
    base: String,
    http: reqwest::Client,
    server: taskyard::ServerHandle,
}

async fn open(database: &str) -> Shop {
    let queue = Taskyard::connect(database).await.unwrap().state(PriceList { cents_per_item: 250 });
    let server = queue.serve().await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router(queue)).await });
    Shop { base, http: reqwest::Client::new(), server }
}

impl Shop {
    async fn task(&self, id: &Value) -> Value {
        let answer = self.http.get(format!("{}/tasks/{}", self.base, id.as_str().unwrap())).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }

    async fn order(&self, id: u64, items: u64) -> Value {
        let order = json!({ "id": id, "items": items });
        let answer = self.http.post(format!("{}/orders", self.base)).json(&order).send().await.unwrap();
        assert_eq!(answer.status(), 202);
        answer.json().await.unwrap()
    }

    async fn until(&self, id: &Value, what: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let task = self.task(id).await;
            if what(&task) {
                return task;
            }
            assert!(started.elapsed() < Duration::from_secs(30), "{task}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn works_over_http(backend: Backend) {
    let shop = open(&backend.create_database()).await;
    let ids = shop.order(7, 10).await;
    assert_eq!(shop.task(&ids["confirm"]).await["state"], "waiting");
    let halfway = shop.until(&ids["process"], |task| task["progress"]["completed"].as_f64() >= Some(2.0)).await;
    assert_eq!(halfway["progress"]["total"], 10.0, "{halfway}");
    let confirmed = shop.until(&ids["confirm"], |task| task["state"] == "done").await;
    assert_eq!(confirmed["result"], "to customer-7@example.org: your order costs 2500 cents");

    let long = shop.order(8, 100_000).await;
    shop.until(&long["process"], |task| task["state"] == "doing").await;
    let url = format!("{}/tasks/{}", shop.base, long["process"].as_str().unwrap());
    assert_eq!(shop.http.delete(&url).send().await.unwrap().status(), 202);
    shop.until(&long["process"], |task| task["state"] == "cancelled").await;
    shop.until(&long["confirm"], |task| task["state"] == "cancelled").await;
    assert_eq!(shop.http.delete(&url).send().await.unwrap().status(), 409);

    let unknown = format!("{}/tasks/0190a8a4-0000-7000-8000-000000000000", shop.base);
    assert_eq!(shop.http.get(unknown).send().await.unwrap().status(), 404);
    assert_eq!(shop.http.get(format!("{}/tasks/nonsense", shop.base)).send().await.unwrap().status(), 400);
    shop.server.stop();
    shop.server.wait().await;
}

taskyard_testkit::on_both_stores! { works_over_http }
