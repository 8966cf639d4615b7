-- After a rotation: a new row is of the new version, the old ones are as they were.
INSERT INTO person_clear VALUES (0, '@newcomer', 'Ἀδά Lovelace', 'ada@example.org', '4111111111111111', '🔑');
SELECT version, key_tag, state, created FROM kms.list_keys('demo/person');
SELECT k.version, k.key_tag, count(*) AS rows
FROM person p, kms.inspect(p.card) i JOIN kms.list_keys('demo/person') k USING (key_tag)
GROUP BY k.version, k.key_tag ORDER BY k.version;
SELECT local_id, key_identifier, mode, version, key_tag, algorithm FROM kms.session_keys;
SELECT name, email, note FROM person_clear WHERE id = 0;
DELETE FROM person WHERE id = 0;
