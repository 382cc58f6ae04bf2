-- Objects in the schema taskyard or among its views whose owner is neither this role, nor a role that it is a member of,
-- nor a superuser; each with its owner. A superuser counts as a member of every role for pg_has_role, so memberships are
-- followed here.
WITH RECURSIVE mine (oid) AS (
    SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
    UNION
    SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN mine ON m.member = mine.oid
), trusted (oid) AS (
    SELECT mine.oid FROM mine
    UNION SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolsuper
    UNION SELECT r.oid FROM pg_catalog.pg_roles r
        WHERE r.rolname = 'pg_database_owner' AND (
            SELECT d.datdba FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()
        ) IN (SELECT mine.oid FROM mine)
), ours (oid) AS (
    SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = 'taskyard'
), found (rank, object, owner) AS (
    SELECT 0, 'the schema taskyard', n.nspowner
    FROM pg_catalog.pg_namespace n WHERE n.oid IN (SELECT ours.oid FROM ours)
    UNION ALL
    SELECT 1, 'the relation taskyard.' || c.relname::text, c.relowner
    FROM pg_catalog.pg_class c WHERE c.relnamespace IN (SELECT ours.oid FROM ours)
    UNION ALL
    SELECT 2, 'the function taskyard.' || p.proname::text, p.proowner
    FROM pg_catalog.pg_proc p WHERE p.pronamespace IN (SELECT ours.oid FROM ours)
    UNION ALL
    SELECT 3, 'the type taskyard.' || t.typname::text, t.typowner
    FROM pg_catalog.pg_type t WHERE t.typnamespace IN (SELECT ours.oid FROM ours)
        -- The array type that comes with a type, which has its owner; a domain over an array is neither.
        AND NOT (t.typelem <> 0 AND t.typtype = 'b' AND EXISTS (
            SELECT FROM pg_catalog.pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid))
    UNION ALL
    SELECT 4, 'the operator taskyard.' || o.oprname::text, o.oprowner
    FROM pg_catalog.pg_operator o WHERE o.oprnamespace IN (SELECT ours.oid FROM ours)
    UNION ALL
    SELECT 4, 'the operator class taskyard.' || o.opcname::text, o.opcowner
    FROM pg_catalog.pg_opclass o WHERE o.opcnamespace IN (SELECT ours.oid FROM ours)
    UNION ALL
    SELECT 4, 'the operator family taskyard.' || o.opfname::text, o.opfowner
    FROM pg_catalog.pg_opfamily o WHERE o.opfnamespace IN (SELECT ours.oid FROM ours)
    UNION ALL
    SELECT 4, 'the collation taskyard.' || o.collname::text, o.collowner
    FROM pg_catalog.pg_collation o WHERE o.collnamespace IN (SELECT ours.oid FROM ours)
    UNION ALL
    SELECT 4, 'the conversion taskyard.' || o.conname::text, o.conowner
    FROM pg_catalog.pg_conversion o WHERE o.connamespace IN (SELECT ours.oid FROM ours)
    UNION ALL
    SELECT 4, 'the text search configuration taskyard.' || o.cfgname::text, o.cfgowner
    FROM pg_catalog.pg_ts_config o WHERE o.cfgnamespace IN (SELECT ours.oid FROM ours)
    UNION ALL
    SELECT 4, 'the text search dictionary taskyard.' || o.dictname::text, o.dictowner
    FROM pg_catalog.pg_ts_dict o WHERE o.dictnamespace IN (SELECT ours.oid FROM ours)
    UNION ALL
    SELECT 4, 'the statistics object taskyard.' || o.stxname::text, o.stxowner
    FROM pg_catalog.pg_statistic_ext o WHERE o.stxnamespace IN (SELECT ours.oid FROM ours)
    UNION ALL
    SELECT 5, 'the view ' || c.oid::pg_catalog.regclass::text, c.relowner
    FROM pg_catalog.unnest(ARRAY['queued_tasks', 'queued_task_logs', 'queued_task_workers', 'queued_task_attempts']) v
        JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(v)
    WHERE pg_catalog.obj_description(c.oid, 'pg_class') = 'Taskyard'
)
SELECT found.object, pg_catalog.pg_get_userbyid(found.owner)::text, current_user::text
FROM found
WHERE found.owner NOT IN (SELECT trusted.oid FROM trusted)
ORDER BY found.rank, found.object LIMIT 1
