#!/usr/bin/env bash
# Drains no-op tasks with Taskyard (two child processes) and with the published PgQueuer, Procrastinate and Celery, in turn,
# and measures the latency of each. Absolute figures depend on the machine, so compare only ratios of one run. Run nothing else
# at the same time.
#
# usage: benches/python/compare.sh DRIVERS PYTHON URL [ROUNDS]
#   DRIVERS  a folder of drivers: harness.py, pgqueuer_d.py, procrastinate_d.py, celery_d.py
#   PYTHON   an interpreter that has Taskyard (a release wheel) and the packages that the drivers import
#   URL      a server on which databases may be created, without a database name: postgresql://user@127.0.0.1:5432
#   BENCH_REDIS_PORT: port of a Redis server on the loopback interface; without it Celery is skipped
#   TASKYARD_TASKS, OTHERS_TASKS, PROCRASTINATE_TASKS, CELERY_TASKS: tasks to drain (200000, 60000, 4000, 4000)
set -euo pipefail
drivers=$(cd "$1" && pwd) python=$2 url=$3 rounds=${4:-3}
here=$(cd "$(dirname "$0")" && pwd)
export PYTHONPATH=$here:$drivers
stamps=$(mktemp) && trap 'rm -f "$stamps"' EXIT
sql() { psql --no-psqlrc --quiet --tuples-only "$url/postgres" -c "$1"; }
peer() { # NAME TASKS DRIVER
  local name=$1 tasks=$2 driver=$3
  for what in drain latency; do
    sql "drop database if exists compare_$name" 2>/dev/null
    sql "create database compare_$name"
    rm -f "$stamps"
    export BENCH_DSN=$url/compare_$name BENCH_STAMPS=$stamps
    (cd "$here" && "$python" "$driver" setup 0 >/dev/null)
    if [ $what = drain ]; then
      (cd "$here" && "$python" "$driver" bulk "$tasks" | sed "s/^RESULT/$name bulk/")
      (cd "$here" && "$python" "$driver" drain "$tasks" 2>/dev/null | sed "s/^RESULT/$name drain/")
    else
      (cd "$here" && "$python" "$driver" latency 200 2>/dev/null | sed "s/^RESULT/$name latency/")
    fi
    sql checkpoint
  done
}
for round in $(seq "$rounds"); do
  echo "round $round"
  peer taskyard "${TASKYARD_TASKS:-200000}" "$here/taskyard_d.py"
  peer pgqueuer "${OTHERS_TASKS:-60000}" "$drivers/pgqueuer_d.py"
  peer procrastinate "${PROCRASTINATE_TASKS:-4000}" "$drivers/procrastinate_d.py"
  if [ -n "${BENCH_REDIS_PORT:-}" ]; then
    peer celery "${CELERY_TASKS:-4000}" "$drivers/celery_d.py"
  fi
done
