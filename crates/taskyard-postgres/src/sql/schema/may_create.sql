-- Whether this role could have made the schema: it may create schemas in this database, or things in this schema.
SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') OR EXISTS (
    SELECT FROM pg_catalog.pg_namespace n
    WHERE n.nspname = 'taskyard' AND pg_catalog.has_schema_privilege(n.oid, 'CREATE'))
