-- How long until an instant, in microseconds: 0 if it has come, a hundred years at most, null if it never comes. Never an
-- error, whatever stands in the row.
CREATE OR REPLACE FUNCTION taskyard.micros_until(p_at timestamptz, p_now timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN p_at <= p_now THEN 0 WHEN p_at < 'infinity'
        THEN (extract(epoch FROM least(p_at, p_now + interval '36525 days') - p_now) OPERATOR(pg_catalog.*) 1000000)::bigint END
$$;

-- Refuses what is no start, expiry or bound of a task or schedule: an infinite instant, one more than a hundred years ahead, or one
-- before year 1, of which Python knows none.
CREATE OR REPLACE FUNCTION taskyard.check_instant(p_what text, p_at timestamptz, p_now timestamptz) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT isfinite(p_at) OR p_at > p_now + interval '36525 days' THEN
        RAISE EXCEPTION 'taskyard: % is %; it must be within a hundred years from now', p_what, p_at USING ERRCODE = '22023';
    ELSIF p_at < '0001-01-01 00:00:00+00' THEN
        RAISE EXCEPTION 'taskyard: % is %; it must not be before year 1', p_what, p_at USING ERRCODE = '22023';
    END IF;
END
$$;

-- An interval in microseconds; refuses one that is negative or over a hundred years.
CREATE OR REPLACE FUNCTION taskyard.interval_micros(p_what text, p_interval interval) RETURNS bigint LANGUAGE plpgsql
IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Intervals are compared with years of 360 days; `extract` counts 365.25. Only its value is stored, so only it is checked.
    IF extract(epoch FROM p_interval) > 36525 * 86400::bigint THEN
        RAISE EXCEPTION 'taskyard: % must not exceed a hundred years', p_what USING ERRCODE = '22023';
    ELSIF extract(epoch FROM p_interval) < 0 THEN
        RAISE EXCEPTION 'taskyard: % must not be negative', p_what USING ERRCODE = '22023';
    END IF;
    RETURN (extract(epoch FROM p_interval) * 1000000)::bigint;
END
$$;
