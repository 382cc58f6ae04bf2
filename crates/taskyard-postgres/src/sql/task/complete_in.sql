-- Ends an attempt as done inside the caller's own transaction, so that its effects and the task's end are one. If the
-- lease is lost it raises TY001, and with it everything that the transaction did is undone.
CREATE OR REPLACE FUNCTION taskyard.complete_in_payload(p_task_id uuid, p_token uuid, p_result bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_row record;
BEGIN
    FOR v_row IN SELECT f.place, f.reply FROM taskyard.task_finish_done(ARRAY[p_task_id], ARRAY[p_token], ARRAY[p_result],
        '{}') f
    LOOP
        IF v_row.place = 0 THEN
            PERFORM taskyard.setting_notify();
        ELSE
            RAISE EXCEPTION 'taskyard: lease lost: this attempt of task % no longer owns the task', p_task_id
                USING ERRCODE = 'TY001';
        END IF;
    END LOOP;
    IF lower(coalesce(nullif(current_setting('taskyard.notify', true), ''),
            (SELECT s.value FROM taskyard.setting s WHERE s.name = 'notify'), 'on')) NOT IN ('off', 'false', '0', 'no') THEN
        PERFORM pg_notify('taskyard_finished', '');
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION taskyard.complete_in(task_id uuid, token uuid, result json DEFAULT 'null') RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM taskyard.check_nesting('the result is', result);
    PERFORM taskyard.check_size('the result takes', octet_length(convert_to(result::text, 'UTF8')), 'result_bytes_max');
    PERFORM taskyard.complete_in_payload(task_id, token, convert_to(coalesce(result, 'null')::text, 'UTF8'));
    -- Plain JSON, whatever language the task is in.
    UPDATE taskyard.task t SET plain = t.plain | 2::smallint WHERE t.id = complete_in.task_id AND t.token = complete_in.token;
END
$$;
