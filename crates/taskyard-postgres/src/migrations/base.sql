-- What the runner itself needs, before any migration.
CREATE SCHEMA IF NOT EXISTS taskyard;
CREATE TABLE IF NOT EXISTS taskyard.migration (
    version bigint PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
