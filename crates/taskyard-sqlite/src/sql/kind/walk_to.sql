update ty_kind_walk
set lane = ?1, rank = ?2, order_number = ?3, walking = coalesce(walking, version)
