-- Describes the functions of the schema `taskyard`, two lines each. The second line ends with the function's name as a comment.
SET search_path = pg_catalog;
SELECT CASE p.prokind WHEN 'p' THEN 'CREATE PROCEDURE ' ELSE 'CREATE FUNCTION ' END || p.oid::regproc || '('
        || pg_get_function_arguments(p.oid) || ')' || coalesce(' RETURNS ' || pg_get_function_result(p.oid), '')
    || E'\n    LANGUAGE ' || l.lanname
    || CASE p.provolatile WHEN 'i' THEN ' IMMUTABLE' WHEN 's' THEN ' STABLE' ELSE ' VOLATILE' END
    || CASE WHEN p.proisstrict THEN ' STRICT' ELSE '' END || CASE WHEN p.proleakproof THEN ' LEAKPROOF' ELSE '' END
    || CASE p.proparallel WHEN 's' THEN ' PARALLEL SAFE' WHEN 'r' THEN ' PARALLEL RESTRICTED' ELSE '' END
    || CASE WHEN p.prosecdef THEN ' SECURITY DEFINER' ELSE ' SECURITY INVOKER' END
    || coalesce((SELECT string_agg(' SET ' || replace(s.setting, '=', ' = '), '' ORDER BY s.place)
        FROM unnest(p.proconfig) WITH ORDINALITY AS s (setting, place)), '')
    || '; -- ' || p.proname
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.pronamespace = 'taskyard'::regnamespace AND p.prokind <> 'a'
ORDER BY p.proname COLLATE "C", pg_get_function_identity_arguments(p.oid) COLLATE "C"
