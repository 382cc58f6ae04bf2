select id from ty_build where runtime = ?1 and fingerprint = ?2
