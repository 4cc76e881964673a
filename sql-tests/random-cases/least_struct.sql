-- NULL within a struct was the least value in a query and not in a view.
-- tasks: 1
CREATE TABLE r0 (a BIGINT, b STRUCT<x BIGINT, y VARCHAR>, c VARCHAR);
CREATE MATERIALIZED VIEW v0 AS SELECT MIN(t0.b) AS c2 FROM r0 AS t0;
CREATE MATERIALIZED VIEW v1 AS SELECT MAX(t0.b) AS c0, MIN(t0.b) FILTER (WHERE t0.a > 2) AS c1, t0.c AS c2 FROM r0 AS t0 GROUP BY t0.c;
INSERT INTO r0 VALUES (3, NAMED_STRUCT('x', CAST(NULL AS BIGINT), 'y', ''), 'Z'), (3, NAMED_STRUCT('x', 0, 'y', ''), 'Z');
DELETE FROM r0 WHERE b['x'] IS NULL;
