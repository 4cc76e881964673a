-- Windows that are ordered by a struct were internal errors.
-- tasks: 1
CREATE TABLE r0 (a BIGINT, b STRUCT<x BIGINT, y VARCHAR>, PRIMARY KEY (a));
CREATE MATERIALIZED VIEW v0 AS SELECT t0.a AS c0, RANK() OVER (ORDER BY t0.b) AS c1, ROW_NUMBER() OVER (ORDER BY t0.b DESC, t0.a) AS c2, SUM(t0.a) OVER (ORDER BY t0.b) AS c3 FROM r0 AS t0;
INSERT INTO r0 VALUES (1, NAMED_STRUCT('x', 2, 'y', 'a')), (2, NULL), (3, NAMED_STRUCT('x', 2, 'y', 'a')), (4, NAMED_STRUCT('x', CAST(NULL AS BIGINT), 'y', 'b'));
DELETE FROM r0 WHERE a = 1;
