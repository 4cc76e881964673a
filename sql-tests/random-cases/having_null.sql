-- HAVING with a condition that folds to NULL: batch pushed it below an aggregate without groups, which still gave its row.
-- tasks: 1
CREATE TABLE r1 (a BIGINT, b BIGINT, c INT, d BOOLEAN, e TIMESTAMP(3), PRIMARY KEY (a, b));
CREATE MATERIALIZED VIEW v0 AS SELECT MAX(t1.c) FILTER (WHERE (t1.b NOT IN (3, 0, 35))) AS c0, COUNT(*) AS c1 FROM TABLE(TUMBLE(TABLE r1, DESCRIPTOR(e), INTERVAL '10' SECOND)) AS t0 JOIN r1 AS t1 ON t0.a = t1.a HAVING (NOT (MAX(t1.c) FILTER (WHERE (t1.b NOT IN (3, 0, 35))) = MAX(t1.c) FILTER (WHERE (t1.b NOT IN (3, 0, 35)))));
