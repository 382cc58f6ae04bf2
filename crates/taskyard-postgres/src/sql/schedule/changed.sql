-- What every write of a schedule's row does, by whomever: the version grows; a row whose definition changed, or that was
-- resumed, is to be planned anew, and servers are told.
CREATE OR REPLACE FUNCTION taskyard.schedule_changed() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_told boolean := TG_OP = 'INSERT';
    v_once boolean := ltrim(NEW.rule) LIKE '@at %' OR ltrim(NEW.rule) LIKE '@after %';
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.created_at := coalesce(NEW.created_at, taskyard.now());
        NEW.planned_from := coalesce(NEW.planned_from, NEW.created_at);
    ELSE
        NEW.version := OLD.version + 1;
        IF NEW.rule <> OLD.rule THEN
            -- Another rule begins now, be it that the old one was over.
            NEW.planned_from := taskyard.now();
            NEW.ended := false;
        ELSIF NOT v_once AND OLD.paused AND NOT NEW.paused THEN
            -- Times that passed meanwhile do not count; what happens once still waits for its time.
            NEW.planned_from := taskyard.now();
        ELSIF NOT v_once AND OLD.ended AND NEW.ended AND (NEW.starts_at, NEW.ends_at, NEW.runs_max)
            IS DISTINCT FROM (OLD.starts_at, OLD.ends_at, OLD.runs_max) THEN
            -- Its bounds were what ended it.
            NEW.planned_from := taskyard.now();
            NEW.ended := false;
        END IF;
        IF OLD.paused AND NOT NEW.paused THEN
            NEW.failures := 0;
        END IF;
        IF (NEW.rule, NEW.zone, NEW.kind, NEW.runtime, NEW.queue, NEW.priority, NEW.payload, NEW.options, NEW.overlap,
                NEW.catch_up, NEW.catch_up_window_us, NEW.jitter_us, NEW.starts_at, NEW.ends_at, NEW.runs_max,
                NEW.pause_after_failures)
            IS DISTINCT FROM (OLD.rule, OLD.zone, OLD.kind, OLD.runtime, OLD.queue, OLD.priority, OLD.payload, OLD.options,
                OLD.overlap, OLD.catch_up, OLD.catch_up_window_us, OLD.jitter_us, OLD.starts_at, OLD.ends_at, OLD.runs_max,
                OLD.pause_after_failures)
            OR (OLD.paused AND NOT NEW.paused) THEN
            NEW.planned := false;
            NEW.problem := NULL;
            NEW.next_at := NULL;
            v_told := true;
        END IF;
    END IF;
    IF v_told AND taskyard.setting_notifies() THEN
        PERFORM pg_notify('taskyard_schedule', '');
    END IF;
    RETURN NEW;
END
$$;
DROP TRIGGER IF EXISTS changed ON taskyard.schedule;
CREATE TRIGGER changed BEFORE INSERT OR UPDATE ON taskyard.schedule
FOR EACH ROW EXECUTE FUNCTION taskyard.schedule_changed();
