-- Window functions over a WHERE with EXISTS or IN under OR could not be planned.
-- tasks: 2
CREATE TABLE r0 (a BIGINT, b BIGINT, c BIGINT);
CREATE MATERIALIZED VIEW v0 AS SELECT DISTINCT ON (t1.b, t1.a) t1.a AS x0 FROM r0 AS t1 WHERE (t1.a IS NULL OR EXISTS (SELECT 1 FROM r0 AS t2 WHERE t2.a = t1.a AND t2.c < t1.c));
CREATE MATERIALIZED VIEW v1 AS SELECT t1.a AS c0, SUM(t1.b) OVER (ORDER BY t1.b, t1.a) AS c1 FROM r0 AS t1 WHERE (t1.c = 3 OR t1.b IN (SELECT t2.a FROM r0 AS t2));
INSERT INTO r0 VALUES (1, 2, 3), (1, 3, 4), (2, 2, NULL), (NULL, 1, 1);
DELETE FROM r0 WHERE b = 3;
