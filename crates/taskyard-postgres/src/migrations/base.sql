-- What the runner itself needs, before any migration.
-- (IF NOT EXISTS would ask for the right to create schemas even where it is there.)
DO $$ BEGIN
    IF pg_catalog.to_regnamespace('taskyard') IS NULL THEN
        CREATE SCHEMA taskyard;
    END IF;
END $$;
CREATE TABLE IF NOT EXISTS taskyard.migration (
    version bigint PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
