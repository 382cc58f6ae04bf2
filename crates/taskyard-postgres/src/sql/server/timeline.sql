-- The history of changes that this database writes: another one after a fail-over. From the name of the file being written,
-- for the control file tells it only after the next checkpoint. Empty where the database does not show its files.
CREATE OR REPLACE FUNCTION taskyard.timeline() RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT s.system_identifier FROM pg_control_system() s) || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8);
EXCEPTION WHEN feature_not_supported OR insufficient_privilege OR undefined_function THEN
    RETURN '';
END
$$;
