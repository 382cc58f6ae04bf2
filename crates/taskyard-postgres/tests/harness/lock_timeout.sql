-- Refuses writes of the engine that would wait for a lock for ever.
CREATE FUNCTION public.check_lock_timeout() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('application_name') = 'taskyard' AND current_setting('lock_timeout') = '0' THEN
        RAISE EXCEPTION 'no limit: % of % in: %', tg_op, tg_table_name, current_query();
    END IF;
    RETURN NULL;
END
$$;
DO $$
DECLARE
    v_table regclass;
BEGIN
    FOR v_table IN SELECT c.oid FROM pg_catalog.pg_class c
        WHERE c.relnamespace = 'taskyard'::regnamespace AND c.relkind = 'r'
    LOOP
        EXECUTE pg_catalog.format('CREATE TRIGGER check_lock_timeout AFTER INSERT OR UPDATE OR DELETE ON %s
            EXECUTE FUNCTION public.check_lock_timeout()', v_table);
    END LOOP;
END
$$;
