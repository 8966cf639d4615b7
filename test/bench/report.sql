-- Tables and JSON of what was measured, and the bars of the plot.
-- Variables: `machine`, `kind`, and the files `tables`, `json`, `bars`.
CREATE VIEW middle AS
SELECT subject, contestant, at, percentile_cont(0.5) WITHIN GROUP (ORDER BY value) AS value
FROM measured GROUP BY subject, contestant, at;

CREATE VIEW call AS
SELECT subject AS direction, contestant, at AS bytes, value AS microseconds, at / value AS megabytes_a_second,
    median_ratio(subject, contestant, at, 'floor', at) AS to_floor
FROM middle WHERE subject IN ('encode', 'decode');

CREATE VIEW memory AS
SELECT name AS contestant, at AS calls, b.value AS kilobytes_before, a.value AS kilobytes_after
FROM measured a, replace(a.contestant, ' after', '') AS name, LATERAL (
    SELECT value FROM measured WHERE subject = 'memory' AND contestant = name || ' before') AS b
WHERE a.subject = 'memory' AND a.contestant LIKE '% after';

CREATE FUNCTION shown(x float8) RETURNS text LANGUAGE sql IMMUTABLE AS $$
SELECT CASE WHEN x < 10 THEN round(x::numeric, 2) WHEN x < 100 THEN round(x::numeric, 1)
    ELSE round(x::numeric) END::text
$$;

\pset footer off
\pset null ''
SELECT bool_or(subject = 'encode') AS calls, bool_or(subject = 'pgbench') AS pgbench,
    bool_or(subject = 'parallel') AS parallel, bool_or(subject = 'first use') AS first_use,
    bool_or(subject = 'rotation') AS rotation, bool_or(subject = 'memory') AS memory,
    bool_or(subject = 'pipelined') AS pipelined, bool_or(subject LIKE 'blob %') AS blobs
FROM measured \gset has_

\o :tables
\qecho :machine
\qecho
SELECT what, ratio, bound || ' ' || target AS target, met FROM ratio ORDER BY place;
\if :has_calls
\qecho 'Calls: microseconds each, and megabytes of plaintext a second'
SELECT direction, contestant,
    max(time) FILTER (WHERE bytes = 32) AS "32 B", max(rate) FILTER (WHERE bytes = 32) AS "MB/s",
    max(time) FILTER (WHERE bytes = 64) AS "64 B", max(rate) FILTER (WHERE bytes = 64) AS "MB/s",
    max(time) FILTER (WHERE bytes = 1024) AS "1 KiB", max(rate) FILTER (WHERE bytes = 1024) AS "MB/s",
    max(time) FILTER (WHERE bytes = 65536) AS "64 KiB", max(rate) FILTER (WHERE bytes = 65536) AS "MB/s",
    max(time) FILTER (WHERE bytes = 1048576) AS "1 MiB", max(rate) FILTER (WHERE bytes = 1048576) AS "MB/s"
FROM call, shown(microseconds) AS time, shown(megabytes_a_second) AS rate
GROUP BY direction, contestant ORDER BY direction DESC, min(microseconds);
\endif
\if :has_pgbench
\qecho 'pgbench, TPC-B-like: transactions a second'
SELECT e.at AS sessions, round(p.value) AS plaintext, round(e.value) AS encrypted
FROM middle e JOIN middle p USING (subject, at)
WHERE subject = 'pgbench' AND e.contestant = 'encrypted' AND p.contestant = 'plaintext' ORDER BY e.at;
\endif
\if :has_parallel
\qecho 'Parallel scan'
SELECT at AS workers, shown(value) AS milliseconds,
    shown(median_ratio('parallel', 'scan', 0, 'scan', at)) AS "times faster"
FROM middle WHERE subject = 'parallel' ORDER BY at;
\endif
\if :has_first_use
\qecho 'First use in a session'
SELECT contestant, shown(value) AS microseconds FROM middle WHERE subject = 'first use' ORDER BY value;
\endif
\if :has_rotation
\qecho 'Rotation: milliseconds for the whole table'
SELECT contestant, shown(value) AS milliseconds FROM middle WHERE subject = 'rotation' ORDER BY value;
\endif
\if :has_blobs
\qecho 'Blobs: microseconds each'
SELECT subject, size_name(at) AS bytes, contestant, shown(value) AS microseconds
FROM middle WHERE subject LIKE 'blob %' ORDER BY subject, value;
\endif
\if :has_memory
\qecho 'Memory, kB'
SELECT contestant, calls, kilobytes_before AS before, kilobytes_after AS after,
    kilobytes_after - kilobytes_before AS growth
FROM memory ORDER BY contestant;
\endif
\if :has_pipelined
\qecho 'kms-agent by itself: pipelined requests of 32 bytes'
SELECT round(value) AS "a second" FROM middle WHERE subject = 'pipelined';
\endif
\o

\pset tuples_only on
\pset format unaligned
\o :json
SELECT jsonb_pretty(jsonb_build_object(
    'machine', :'machine', 'server', current_setting('server_version'), 'kind', :'kind',
    'ratios', (SELECT jsonb_agg(jsonb_build_object('what', what, 'ratio', ratio,
        coalesce(bound, 'at most'), target, 'met', met) ORDER BY place) FROM ratio),
    'calls', (SELECT jsonb_agg(to_jsonb(c) ORDER BY direction DESC, bytes, microseconds) FROM (
        SELECT direction, contestant, bytes, round(microseconds::numeric, 4) AS microseconds,
            round(megabytes_a_second::numeric, 2) AS megabytes_a_second, round(to_floor::numeric, 3) AS to_floor
        FROM call) AS c),
    'medians', (SELECT jsonb_agg(to_jsonb(m) ORDER BY subject, at, contestant) FROM middle m
        WHERE subject NOT IN ('encode', 'decode')),
    'rounds', (SELECT jsonb_object_agg(subject, rounds) FROM (
        SELECT subject, max(round) AS rounds FROM measured GROUP BY subject) AS r)));

-- For the plot: direction, place of the size, place of the bar, ratio.
\pset fieldsep '\t'
\o :bars
SELECT direction, dense_rank() OVER (ORDER BY bytes), bar, round(to_floor::numeric, 2)
FROM call JOIN (VALUES (1, 'read'), (2, 'local'), (3, 'local array'), (4, 'local window'), (5, 'encrypt_iv'),
    (5, 'decrypt_iv'), (6, 'remote array'), (7, 'remote window'), (8, 'remote'), (9, 'pgp_sym_encrypt'),
    (9, 'pgp_sym_decrypt')) AS bars (bar, contestant) USING (contestant)
WHERE to_floor IS NOT NULL;
\o
