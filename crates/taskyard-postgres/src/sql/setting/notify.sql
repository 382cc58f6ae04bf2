-- Whether commits tell: unless `taskyard.notify` is off, as a parameter of the session or role, or as a row of
-- taskyard.setting.
CREATE OR REPLACE FUNCTION taskyard.setting_notifies() RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN lower(coalesce(nullif(current_setting('taskyard.notify', true), ''),
        (SELECT s.value FROM taskyard.setting s WHERE s.name = 'notify'), 'on')) NOT IN ('off', 'false', '0', 'no');
END
$$;

-- One constant notification inside the caller's transaction (PostgreSQL folds equal ones).
CREATE OR REPLACE FUNCTION taskyard.setting_notify() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF taskyard.setting_notifies() THEN
        PERFORM pg_notify(coalesce((SELECT s.value FROM taskyard.setting s WHERE s.name = 'notify_channel'),
            'queue_new_task'), '');
    END IF;
END
$$;
