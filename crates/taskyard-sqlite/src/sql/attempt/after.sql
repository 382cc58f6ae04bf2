select number, outcome, started_at, ended_at, error_type, error_message
from ty_attempt
where order_number = ?1 and number > ?2
order by id
