select sequence, order_number, what from ty_deadline where at <= ?1 order by at limit ?2
