select id from ty_build where seen_at not between ?1 - 60000000 and ?1 + 60000000 order by id limit 10
