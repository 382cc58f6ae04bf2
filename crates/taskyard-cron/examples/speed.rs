//! Measures one `next_after` for common schedules: `cargo run --release -p taskyard-cron --example speed`.

use std::hint::black_box;
use std::time::Instant;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use taskyard_cron::Cron;

const TIMES: u32 = 200_000;

fn main() {
    let texts = [
        "* * * * *",
        "*/5 * * * *",
        "0 * * * *",
        "0 9 * * MON-FRI",
        "30 2 * * *",
        "0 0 1 * *",
        "0 0 LW * *",
        "0 0 * * FRI#2",
        "0 0 1 1 *",
        "0 0 29 2 *",
        "* * * * * *",
        "0 0 0 29 2 ?",
    ];
    println!("{:20} {:>10} {:>10} {:>10}", "", "UTC", "New_York", "parse");
    for text in texts {
        let began = Instant::now();
        for _ in 0..TIMES {
            black_box(Cron::parse(black_box(text))).expect("the texts are schedules");
        }
        let parse = began.elapsed() / TIMES;
        let cron = Cron::parse(text).expect("the texts are schedules");
        let mut each = Vec::new();
        for name in ["UTC", "America/New_York"] {
            let zone = TimeZone::get(name).expect("the zones are built in");
            let began = Instant::now();
            for at in 0..TIMES {
                // Instants spread over several years, so that the search starts anywhere and not at a previous result.
                let at = Timestamp::from_second(1_790_000_000 + i64::from(at) * 997).expect("within jiff's range");
                black_box(cron.next_after(black_box(at), &zone));
            }
            each.push(began.elapsed() / TIMES);
        }
        println!("{text:20} {:>10?} {:>10?} {parse:>10?}", each[0], each[1]);
    }
}
