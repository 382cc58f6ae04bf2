insert into ty_kind_group (runtime, builds) values (?1, ?2) returning id
