update ty_schedule set version = version + 1, planned = ?11, paused = ?3, ended = ?4, problem = ?5, next_at = ?6,
    last_at = ?7, runs = runs + ?8, failures = ?9, last_state = ?10
where name = ?1 and version = ?2
