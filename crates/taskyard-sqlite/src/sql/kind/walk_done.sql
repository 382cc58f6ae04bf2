update ty_kind_walk
set walked = coalesce(walking, version), walking = null, lane = null, rank = null, order_number = null
