-- One row, whatever a restore of the data alone adds: of two, every addition would fail.
DELETE FROM taskyard.ready_turn t USING taskyard.ready_turn u WHERE t.ctid > u.ctid;
ALTER TABLE taskyard.ready_turn ADD COLUMN only_row boolean NOT NULL DEFAULT true CHECK (only_row);
ALTER TABLE taskyard.ready_turn ADD PRIMARY KEY (only_row);
