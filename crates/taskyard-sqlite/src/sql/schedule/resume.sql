update ty_schedule set version = version + 1, paused = 0, planned = 0, problem = null, next_at = null, failures = 0,
    planned_from = case when rule like '@at %' or rule like '@after %' then planned_from else ?2 end
where name = ?1 and paused
