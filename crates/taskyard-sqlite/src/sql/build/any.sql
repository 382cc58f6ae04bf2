select 1 from ty_build
