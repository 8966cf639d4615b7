-- 64 KiB go in and come out again, each in a transaction of its own. Variable: `sealed`.
\if :sealed
SELECT kms.blob_put(1, d) AS id FROM piece WHERE bytes = 65536 \gset
SELECT kms.blob_get(:id);
\else
INSERT INTO plain_blob SELECT gen_random_uuid(), d FROM piece WHERE bytes = 65536 RETURNING id \gset
SELECT d FROM plain_blob WHERE id = :id;
\endif
