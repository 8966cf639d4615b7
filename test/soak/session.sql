-- A few hundred random uses of keys in one session; raises whatever should not happen.
\set QUIET on
SET client_min_messages = warning;
CREATE TEMP TABLE IF NOT EXISTS kept (plain bytea, context bytea, sealed bytea);
SELECT set_config('soak.command', current_setting('kms.command'), false)
WHERE coalesce(current_setting('soak.command', true), '') = '' \g /dev/null

DO $$
DECLARE
    plain bytea;
    place bytea;
    sealed bytea;
    opened bytea;
    k kept;
BEGIN
    PERFORM kms.set_key(1, 'soak');
    FOR i IN 1 .. 300 LOOP
        BEGIN
            CASE floor(random() * 10)::int
            WHEN 0 THEN
                PERFORM set_config('kms.mode', (ARRAY['local', 'remote'])[1 + floor(random() * 2)::int], false);
            WHEN 1 THEN  -- another command: the agent starts again
                PERFORM set_config('kms.command',
                    current_setting('soak.command') || repeat(' ', floor(random() * 3)::int), false);
            WHEN 2 THEN  -- the agent is killed, a few times in a run
                IF random() < 0.1 AND (kms.status()).agent_pid IS NOT NULL THEN
                    EXECUTE format('COPY (SELECT) TO PROGRAM %L',
                        'cat >/dev/null; kill -9 ' || (kms.status()).agent_pid);
                END IF;
            WHEN 3 THEN
                IF random() < 0.02 THEN
                    PERFORM kms.rotate_key('soak');
                END IF;
            WHEN 4 THEN  -- a flipped bit anywhere is found
                sealed := kms.encode(1, 'tampered with', 'soak');
                sealed := set_bit(sealed, floor(random() * length(sealed) * 8)::bigint,
                    1 - get_bit(sealed, floor(random() * 8)::bigint));
                opened := kms.try_decode(1, sealed, 'soak');
                IF opened <> 'tampered with' THEN
                    RAISE EXCEPTION 'a changed value opened as another';
                END IF;
            WHEN 5 THEN  -- what this session has kept still opens
                FOR k IN SELECT * FROM kept ORDER BY random() LIMIT 3 LOOP
                    IF kms.decode(1, k.sealed, k.context) IS DISTINCT FROM k.plain THEN
                        RAISE EXCEPTION 'a kept value opened as another';
                    END IF;
                END LOOP;
            ELSE
                plain := decode(repeat(md5(random()::text), floor(random() ^ 8 * 3000)::int), 'hex');
                place := decode(md5(random()::text), 'hex');
                sealed := kms.encode(1, plain, place);
                IF kms.decode(1, sealed, place) IS DISTINCT FROM plain THEN
                    RAISE EXCEPTION 'a value opened as another';
                END IF;
                IF random() < 0.05 THEN
                    INSERT INTO kept VALUES (plain, place, sealed);
                END IF;
            END CASE;
        EXCEPTION
            -- An agent that was killed, or is starting again, may be missed once.
            WHEN SQLSTATE 'KM007' THEN NULL;
        END;
    END LOOP;
END
$$;
