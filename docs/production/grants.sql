-- What the role `shop` of web applications and workers needs where another role owns the schema. Run as the owner, after each
-- `taskyard db migrate`.
GRANT USAGE ON SCHEMA taskyard TO shop;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA taskyard TO shop;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA taskyard TO shop;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA taskyard TO shop;
