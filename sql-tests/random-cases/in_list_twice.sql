-- The literals of an IN list came in another order at every planning, and equal windows were not always found to be equal, so the
-- state of v0 seemed to be another plan's.
CREATE TABLE r0 (a BIGINT, b VARCHAR);
CREATE MATERIALIZED VIEW v0 AS WITH t1 AS (SELECT LAST_VALUE(t0.a) OVER (PARTITION BY t0.b ORDER BY t0.a DESC, t0.b DESC NULLS LAST ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS c1 FROM r0 AS t0 WHERE t0.b IN ('', 'ß', 'ß')) SELECT t3.c1 AS c1 FROM t1 AS t2 RIGHT JOIN t1 AS t3 ON t2.c1 = t3.c1;
INSERT INTO r0 VALUES (1, 'ß'), (2, ''), (3, 'x');
CREATE MATERIALIZED VIEW v1 AS SELECT t0.b AS c0 FROM r0 AS t0;
DELETE FROM r0 WHERE (a >= 2);
