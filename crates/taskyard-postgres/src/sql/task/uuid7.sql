-- A UUIDv7 for tasks that SQL adds; its time only spreads the ids, it decides nothing.
CREATE OR REPLACE FUNCTION taskyard.uuid7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
    SELECT encode(set_bit(set_bit(
        overlay(uuid_send(gen_random_uuid())
            PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6),
        52, 1), 53, 1), 'hex')::uuid
$$;

-- The least UUIDv7 of an instant.
CREATE OR REPLACE FUNCTION taskyard.uuid7_from(p_at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT encode(substring(int8send(greatest((extract(epoch FROM p_at) * 1000)::bigint, 0)) FROM 3)
        || decode('00000000000000000000', 'hex'), 'hex')::uuid
$$;
