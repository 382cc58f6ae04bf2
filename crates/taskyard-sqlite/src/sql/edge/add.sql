insert into ty_edge (parent, child, place, open) values (?1, ?2, ?3, ?4)
