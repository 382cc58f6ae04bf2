update ty_build set seen_at = ?1
where seen_at not between ?1 - 10000000 and ?1 + 10000000 and exists (
    select 1 from ty_server s where s.dead_at is null and ty_build.id in (s.build_0, s.build_1))
