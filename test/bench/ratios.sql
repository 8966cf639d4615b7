-- What is asked of the ratios, and whether it is met.

-- The median of the ratios of each round's two values.
CREATE FUNCTION median_ratio(subject text, dividend text, dividend_at int, divisor text, divisor_at int)
RETURNS float8 LANGUAGE sql AS $$
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a.value / b.value)
FROM measured a JOIN measured b USING (subject, round)
WHERE a.subject = $1 AND a.contestant = dividend AND a.at = dividend_at
    AND b.contestant = divisor AND b.at = divisor_at
$$;

CREATE FUNCTION size_name(bytes int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
SELECT CASE WHEN bytes < 1024 THEN bytes || ' B' WHEN bytes < 1048576 THEN bytes / 1024 || ' KiB'
    ELSE bytes / 1048576 || ' MiB' END
$$;

CREATE TABLE asked (
    what text, subject text, dividend text, dividend_at int, divisor text, divisor_at int,
    bound text, target numeric, place serial);
INSERT INTO asked
SELECT format('local %s, %s, to the floor', subject, size_name(bytes)), subject, 'local', bytes, 'floor', bytes,
    'at most', target
FROM (VALUES (32, 1.25), (1024, 1.15), (65536, 1.05), (1048576, 1.05)) AS s (bytes, target),
    (VALUES ('encode'), ('decode')) AS d (subject)
ORDER BY bytes, subject DESC;
INSERT INTO asked VALUES
    ('local encode, 32 B, to pgcrypto encrypt_iv', 'encode', 'local', 32, 'encrypt_iv', 32, 'at most', 0.45),
    ('remote encode, 64 B, to a bare ping-pong', 'encode', 'remote', 64, 'ping-pong', 64, 'at most', 1.3);
INSERT INTO asked
SELECT format('%s %s, 32 B, to %s', dividend, subject, divisor), subject, dividend, 32, divisor, 32,
    'at most', target
FROM (VALUES ('remote array', 'local', 2.5), ('remote window', 'local', 2.5), ('remote window', 'remote', 0.02))
        AS r (dividend, divisor, target),
    (VALUES ('encode'), ('decode')) AS d (subject)
ORDER BY dividend, target DESC, subject DESC;
INSERT INTO asked
SELECT format('pgbench, %s sessions, encrypted to plaintext', n), 'pgbench', 'encrypted', n, 'plaintext', n,
    'at least', 0.97
FROM (VALUES (1), (2), (8), (32)) AS sessions (n);
INSERT INTO asked VALUES
    ('scan without workers to scan with one', 'parallel', 'scan', 0, 'scan', 1, 'at least', 1.7),
    ('first encode of a session to /bin/true', 'first use', 'encode', 0, 'true', 0, 'at most', 3),
    ('reencrypt to an UPDATE in the same batches', 'rotation', 'reencrypt', 0, 'UPDATE', 0, 'at most', 1.3),
    ('reencrypt to an UPDATE with kms.recode', 'rotation', 'reencrypt', 0, 'recode by hand', 0, 'at most', 1.3),
    ('census to count(column)', 'rotation', 'census', 0, 'count', 0, 'at most', 1.5);
INSERT INTO asked
SELECT what || ', to ' || divisor, subject, dividend, at, divisor, at, bound, target
FROM (SELECT DISTINCT subject, at FROM measured WHERE subject LIKE 'blob %') AS m JOIN (VALUES
    (1, 'blob put+get', 'put and get 64 KiB', 'blob', 'plain', 'at most', 1.3),
    (2, 'blob put+get, one transaction', 'the same in one transaction', 'blob', 'plain', NULL, NULL),
    (3, 'blob put', 'put of a large blob', 'blob', 'plain', 'at most', 1.2),
    (4, 'blob get', 'get of a large blob', 'blob', 'plain', 'at most', 1.2),
    (5, 'blob put, kms-blob', 'kms-blob put', 'blob', 'plain', NULL, NULL),
    (6, 'blob get, kms-blob', 'kms-blob get', 'blob', 'plain', NULL, NULL),
    (7, 'blob range', '4 KiB of a large blob', 'blob', 'plain', 'at most', 3),
    (8, 'blob rewrap', 'rewrap of 1 MiB', 'rewrap', 're-encrypt', 'at most', 0.02)
) AS r (place, subject, what, dividend, divisor, bound, target) USING (subject)
ORDER BY place;
INSERT INTO asked
SELECT format('memory of %s, after %s calls', name, to_char(at, 'FM9,999,999')), 'memory', contestant, at,
    name || ' before', at, 'at most', 1.05
FROM measured, replace(contestant, ' after', '') AS name
WHERE subject = 'memory' AND contestant LIKE '% after' ORDER BY name;

CREATE VIEW ratio AS
SELECT place, what, ratio, bound, target,
    CASE bound WHEN 'at most' THEN ratio <= target ELSE ratio >= target END AS met
FROM (SELECT place, what, bound, target,
        round(median_ratio(subject, dividend, dividend_at, divisor, divisor_at)::numeric, 3) AS ratio
    FROM asked) AS r
WHERE ratio IS NOT NULL;
