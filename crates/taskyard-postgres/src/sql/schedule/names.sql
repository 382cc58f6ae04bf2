SELECT s.name FROM taskyard.schedule s WHERE s.name > $1 ORDER BY s.name LIMIT $2
