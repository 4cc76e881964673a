-- A join by hash of what DISTINCT ON had spread by another key could not be planned in batch.
-- tasks: 2
CREATE TABLE r1 (a BIGINT, b INT, c BIGINT[], d BIGINT);
CREATE MATERIALIZED VIEW v0 AS SELECT MAX(t0.x1) AS c4 FROM (SELECT DISTINCT ON (t1.b) t1.c AS x1, t1.a AS x2 FROM r1 AS t1 WHERE t1.b IS NOT NULL ORDER BY t1.b ASC NULLS FIRST) AS t0 JOIN r1 AS t2 ON t0.x2 = t2.a;
INSERT INTO r1 VALUES (1, 1, ARRAY[1, 2], 1), (2, 1, NULL, 2), (1, 2, ARRAY[3], 1), (3, NULL, NULL, NULL);
