-- 4 KiB near the middle of a large blob, or a plain chunk of 16 KiB there.
-- Variables: `sealed`, `id`, `middle` in bytes.
\set at random(:middle - 33554432, :middle + 33554432)
\set chunk :at / 16384
\if :sealed
SELECT kms.blob_read(:id, :at, 4096);
\else
SELECT d FROM plain_small_chunk WHERE id = :id AND chunk = :chunk;
\endif
