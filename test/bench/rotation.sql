-- Re-encryption against an UPDATE of the same column in the same batches, with a constant of the same
-- length and with kms.recode by hand; and a census against count(column). Variables: `rows`, `rounds`.
SET client_min_messages = warning;
SET enable_seqscan = off;

CREATE TABLE rotated (id int PRIMARY KEY, d bytea);
INSERT INTO rotated SELECT i, kms.encode(1, substr(sha512(int8send(i)), 1, 32)) FROM generate_series(1, :rows) i;
CREATE TABLE updated (LIKE rotated INCLUDING ALL);
CREATE TABLE recoded (LIKE rotated INCLUDING ALL);
INSERT INTO updated SELECT * FROM rotated;
INSERT INTO recoded SELECT * FROM rotated;
SELECT kms.register_column('rotated', 'd', 'bench');

-- Batches of 10,000 rows, as kms.reencrypt makes them. Tables are packed before each round: else rows move
-- into gaps ahead, and are updated twice.
CREATE PROCEDURE update_in_batches(relation regclass, new_value text) LANGUAGE plpgsql AS $$
DECLARE
    pages int := pg_relation_size(relation) / current_setting('block_size')::int;
    step int := greatest(1, 10000::bigint * pages / (SELECT reltuples::int FROM pg_class WHERE oid = relation));
BEGIN
    FOR page IN 0 .. pages BY step LOOP
        EXECUTE format('UPDATE %s SET d = %s WHERE ctid >= ''(%s,0)'' AND ctid < ''(%s,0)''',
            relation, new_value, page, page + step);
        COMMIT;
    END LOOP;
END
$$;

CREATE PROCEDURE take_time(contestant text, round int) LANGUAGE plpgsql AS $$
DECLARE
    began timestamptz := clock_timestamp();
    ignored bigint;
BEGIN
    CASE contestant
        WHEN 'reencrypt' THEN CALL kms.reencrypt('rotated', 'd');
        WHEN 'UPDATE' THEN CALL update_in_batches('updated', format('%L::bytea', repeat('\012', 81)));
        WHEN 'recode by hand' THEN CALL update_in_batches('recoded', 'kms.recode(1, 1, d)');
        WHEN 'census' THEN SELECT sum(rows) INTO ignored FROM kms.census('rotated', 'd');
        WHEN 'count' THEN SELECT count(d) INTO ignored FROM rotated;
    END CASE;
    INSERT INTO measured VALUES ('rotation', contestant, 0, round, extract(epoch FROM clock_timestamp() - began) * 1000);
END
$$;

SELECT s FROM generate_series(0, :rounds) AS round, unnest(ARRAY[
    'VACUUM (FULL, ANALYZE) rotated, updated, recoded', 'CHECKPOINT', $$SELECT kms.rotate_key('bench')$$,
    format('CALL take_time(%L, %s)', 'reencrypt', round), format('CALL take_time(%L, %s)', 'UPDATE', round),
    format('CALL take_time(%L, %s)', 'recode by hand', round), format('CALL take_time(%L, %s)', 'census', round),
    format('CALL take_time(%L, %s)', 'count', round)]) AS s
\gexec
DELETE FROM measured WHERE subject = 'rotation' AND round = 0;
