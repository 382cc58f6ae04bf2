-- The one clock of the protocol; a test moves it for every process on this database. Read it once per function.
-- plpgsql, as everywhere here: its plans are kept in the backend, those of an SQL function are made at each call. It names
-- the schema of all that it calls instead of setting a search path, which costs as much as the rest of it.
CREATE OR REPLACE FUNCTION taskyard.now() RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN coalesce((SELECT coalesce(c.frozen_at, pg_catalog.clock_timestamp()
            OPERATOR(pg_catalog.+) (c.offset_us OPERATOR(pg_catalog.*) interval '1 microsecond')) FROM taskyard.clock c),
        pg_catalog.clock_timestamp());
END
$$;
