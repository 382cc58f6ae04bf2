-- Overloads in `public` that the parser prefers to a builtin wherever the types of a call are not exactly the builtin's: of
-- every polymorphic function, and of operators between types for which there is none. Each counts that it was called, in a
-- sequence that no rollback resets, and fails.
CREATE SEQUENCE public.planted;
CREATE FUNCTION public.planted_call(what text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM nextval('public.planted');
    RAISE EXCEPTION 'planted code was called: %', what;
END
$$;
SET search_path = pg_catalog, pg_temp;
DO $do$
DECLARE
    v_types regtype[] := ARRAY['uuid', 'text', 'smallint', 'int', 'bigint', 'numeric', 'boolean', 'bytea', 'timestamptz', 'json',
        'jsonb']::regtype[];
    v_polymorphic text[] := ARRAY['anyelement', 'anynonarray', 'anycompatible', 'anycompatiblenonarray', 'any', '"any"'];
    v_arrays text[] := ARRAY['anyarray', 'anycompatiblearray'];
    v_arguments text;
    v_body text;
    f record;
    t regtype;
BEGIN
    FOR f IN
        SELECT p.proname, array_agg(a.type::regtype::text ORDER BY a.place) AS arguments
        FROM pg_proc p CROSS JOIN LATERAL unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a(type, place)
        WHERE p.pronamespace = 'pg_catalog'::regnamespace
        GROUP BY p.oid, p.proname
        HAVING bool_or(a.type::regtype::text = ANY(v_polymorphic || v_arrays))
            AND NOT bool_or(a.type::regtype::text IN ('internal', 'cstring', 'anyenum', 'anyrange', 'anymultirange',
                'anycompatiblerange', 'anycompatiblemultirange'))
    LOOP
        FOREACH t IN ARRAY v_types LOOP
            SELECT string_agg(CASE WHEN a = ANY(v_polymorphic) THEN t::text WHEN a = ANY(v_arrays) THEN t::text || '[]'
                ELSE a END, ', ') INTO v_arguments FROM unnest(f.arguments) AS a;
            BEGIN
                EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS int LANGUAGE plpgsql AS %L', f.proname, v_arguments,
                    format('BEGIN PERFORM public.planted_call(%L); RETURN 0; END', f.proname || '(' || v_arguments || ')'));
            EXCEPTION WHEN duplicate_function THEN NULL;
            END;
        END LOOP;
    END LOOP;
    v_types := v_types || ARRAY['interval', 'float8']::regtype[];
    FOR f IN
        SELECT o.name, l.type AS left_type, r.type AS right_type, row_number() OVER () AS number
        FROM unnest(ARRAY['+', '-', '*', '/', '%', '&', '|', '||', '=', '<>', '<', '<=', '>', '>=']) AS o(name)
            CROSS JOIN unnest(v_types) AS l(type) CROSS JOIN unnest(v_types) AS r(type)
        WHERE NOT EXISTS (SELECT FROM pg_operator p WHERE p.oprnamespace = 'pg_catalog'::regnamespace AND p.oprname = o.name
            AND p.oprleft = l.type AND p.oprright = r.type)
    LOOP
        v_body := format('BEGIN PERFORM public.planted_call(%L); RETURN NULL; END',
            f.left_type || ' ' || f.name || ' ' || f.right_type);
        EXECUTE format('CREATE FUNCTION public.planted_%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS %L', f.number, f.left_type,
            f.right_type, CASE WHEN f.name ~ '[=<>]' THEN 'boolean' ELSE f.left_type::text END, v_body);
        EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.planted_%s)', f.name,
            f.left_type, f.right_type, f.number);
    END LOOP;
END
$do$;
