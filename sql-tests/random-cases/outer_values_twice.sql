-- The same with two rows of one key.
-- tasks: 1
CREATE TABLE r1 (a BIGINT, b INT, c VARCHAR, d VARCHAR, e TIMESTAMP(3), PRIMARY KEY (b));
INSERT INTO r1 VALUES (1, 2, NULL, NULL, TIMESTAMP '2024-01-01 00:00:57');
CREATE MATERIALIZED VIEW v0 AS SELECT t0.e AS c2 FROM r1 AS t0 RIGHT JOIN (VALUES (1, 'a b'), (1, 'xy'), (2, '')) AS t1 (a, b) ON t0.a = t1.a;
INSERT INTO r1 VALUES (4, 2, 'a b', 'ß', NULL);
