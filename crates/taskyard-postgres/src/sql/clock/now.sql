-- The one clock of the protocol; a test moves it for every process on this database. Read it once per function.
-- plpgsql, as everywhere here: its plans are kept in the backend, those of an SQL function are made at each call.
CREATE OR REPLACE FUNCTION taskyard.now() RETURNS timestamptz LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN coalesce(
        (SELECT coalesce(c.frozen_at, clock_timestamp() + c.offset_us * interval '1 microsecond') FROM taskyard.clock c),
        clock_timestamp());
END
$$;
