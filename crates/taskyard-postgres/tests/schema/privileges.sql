-- Describes the privileges of roles other than the owner: on the schema `taskyard`, its types, relations, columns and functions, and
-- on the views.
SET search_path = pg_catalog;
SELECT format('GRANT %s ON %s TO %s%s;', string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type), o.name,
    CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
    CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM (
    SELECT 'SCHEMA ' || n.nspname AS name, n.nspowner AS owner, coalesce(n.nspacl, acldefault('n', n.nspowner)) AS acl
    FROM pg_namespace n WHERE n.nspname = 'taskyard'
    UNION ALL
    SELECT 'TYPE ' || t.oid::regtype, t.typowner, coalesce(t.typacl, acldefault('T', t.typowner))
    FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
    WHERE t.typnamespace = 'taskyard'::regnamespace AND t.typelem = 0 AND c.relkind IS NOT DISTINCT FROM 'c'
    UNION ALL
    SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || c.oid::regclass, c.relowner,
        coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, c.relowner))
    FROM pg_class c WHERE c.relnamespace = 'taskyard'::regnamespace OR obj_description(c.oid, 'pg_class') = 'Taskyard'
    UNION ALL
    SELECT 'COLUMN ' || c.oid::regclass || '.' || quote_ident(t.attname), c.relowner, t.attacl
    FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid
    WHERE c.relnamespace = 'taskyard'::regnamespace OR obj_description(c.oid, 'pg_class') = 'Taskyard'
    UNION ALL
    SELECT 'FUNCTION ' || p.oid::regprocedure, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))
    FROM pg_proc p WHERE p.pronamespace = 'taskyard'::regnamespace
) o CROSS JOIN aclexplode(o.acl) a
WHERE a.grantee <> o.owner
GROUP BY o.name, a.grantee, a.is_grantable
ORDER BY o.name COLLATE "C", a.grantee = 0 DESC, a.grantee::regrole::text COLLATE "C", a.is_grantable
