-- One row as the table stores it, what its bytes say without a key, and what they are with it.
\pset format wrapped
\pset columns 100
\x on
SELECT * FROM person WHERE id = 6;
SELECT suite, key_tag, nonce, plaintext_length FROM person, kms.inspect(card) WHERE id = 6;
SELECT * FROM person_clear WHERE id = 6;
