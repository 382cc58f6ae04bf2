-- What every write of a schedule's row does, by whomever: the version grows; a row whose definition changed, or that was
-- resumed, is to be planned anew, and servers are told.
CREATE OR REPLACE FUNCTION taskyard.schedule_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_told boolean := TG_OP = 'INSERT';
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
        ELSIF OLD.paused AND NOT NEW.paused AND NEW.rule NOT LIKE '@a%' THEN
            -- Times that passed meanwhile do not count; what happens once still waits for its time.
            NEW.planned_from := taskyard.now();
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
