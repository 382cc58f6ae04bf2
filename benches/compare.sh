#!/usr/bin/env bash
# Drains 200,000 no-op tasks with Taskyard and with the Rust crate graphile_worker in turn, on one PostgreSQL, and prints
# each rate. Absolute figures depend on the machine, so compare only ratios of one run. Run nothing else at the same time.
#
# usage: benches/compare.sh DRIVER URL [ROUNDS]
#   DRIVER  a compiled driver of graphile_worker: `DRIVER setup 0`, `bulk N`, `drain N`, its database in BENCH_DSN
#   URL     a server on which databases may be created, without a database name: postgresql://user@127.0.0.1:5432
set -euo pipefail
driver=$1 url=$2 rounds=${3:-3} tasks=200000
here=$(cd "$(dirname "$0")/.." && pwd)
cargo build --release --quiet --manifest-path "$here/Cargo.toml" -p taskyard-cli
taskyard=${CARGO_TARGET_DIR:-$here/target}/release/taskyard
sql() { psql --no-psqlrc --quiet --tuples-only "$url/postgres" -c "$1"; }
for round in $(seq "$rounds"); do
  for who in taskyard graphile_worker; do
    sql "drop database if exists compare_$who" 2>/dev/null
    sql "create database compare_$who"
    echo "round $round: $who"
    if [ $who = taskyard ]; then
      "$taskyard" bench --database "$url/compare_$who" --tasks $tasks --only bulk,drain --json |
        python3 -c 'import json,sys; f=json.load(sys.stdin); print("  bulk %.0f/s, drain %.0f/s" % (f["bulk"]["per_second"], f["drain"]["per_second"]))'
    else
      export BENCH_DSN="$url/compare_$who"
      "$driver" setup 0 >/dev/null
      "$driver" bulk $tasks | sed 's/^RESULT/  bulk/'
      "$driver" drain $tasks | sed 's/^RESULT/  drain/'
    fi
    sql checkpoint
  done
done
