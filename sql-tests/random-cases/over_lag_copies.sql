-- LAG over many copies of a row: after a restart a deletion took the wrong copies.
-- tasks: 1
CREATE TABLE r0 (a BIGINT, b VARCHAR);
INSERT INTO r0 VALUES (4, 'y');
INSERT INTO r0 VALUES (4, ''), (0, 'a b'), (0, 'xy'), (3, 'a b');
CREATE MATERIALIZED VIEW v2 AS SELECT t0.b AS c0 FROM r0 AS t0 CROSS JOIN r0 AS t1;
CREATE MATERIALIZED VIEW v3 AS SELECT t0.a AS c0, t0.b AS c1, LAG(t0.a) OVER (PARTITION BY t0.b ORDER BY t0.a DESC, t0.b DESC NULLS LAST, t1.c0 DESC) AS c2 FROM r0 AS t0 LEFT JOIN v2 AS t1 ON t0.b = t1.c0;
CREATE MATERIALIZED VIEW v4 AS SELECT t0.c1 AS c3 FROM v3 AS t0;
DELETE FROM r0 WHERE (a >= 4);
