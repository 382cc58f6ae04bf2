SELECT (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint::text || '/' || oid::text
FROM pg_catalog.pg_database
WHERE datname = pg_catalog.current_database()
