-- Someone who can write to the table puts another person's card in a row: it does not open there.
\set VERBOSITY verbose
BEGIN;
UPDATE person SET card = (SELECT card FROM person WHERE id = 2) WHERE id = 1;
SELECT card FROM person_clear WHERE id = 1;
ROLLBACK;
