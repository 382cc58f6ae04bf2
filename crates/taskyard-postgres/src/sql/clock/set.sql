-- For tests.
CREATE OR REPLACE FUNCTION taskyard.clock_set(p_offset_us bigint, p_frozen_at timestamptz) RETURNS void
LANGUAGE sql SET lock_timeout = '5s' SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO taskyard.clock (only_row, offset_us, frozen_at) VALUES (true, p_offset_us, p_frozen_at)
    ON CONFLICT (only_row) DO UPDATE SET offset_us = excluded.offset_us, frozen_at = excluded.frozen_at
$$;
