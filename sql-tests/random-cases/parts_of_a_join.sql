-- A join by hash had inputs in different numbers of parts.
-- tasks: 2
CREATE TABLE r0 (a BIGINT, b DOUBLE, c INT);
CREATE MATERIALIZED VIEW v3 AS SELECT ROW_NUMBER() OVER () AS c4 FROM r0 AS t0 LEFT JOIN LATERAL (SELECT MIN(2) AS c1 FROM (SELECT DISTINCT ON (t3.a, t3.c) t3.c AS x0 FROM r0 AS t3 ORDER BY t3.a, t3.c, t3.b) AS t2 WHERE t2.x0 = t0.c) AS t1 ON true;
