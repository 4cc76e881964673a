-- LATERAL that takes nothing from the left, with another LATERAL within: the batch planner panicked.
-- tasks: 1
CREATE TABLE r0 (a BIGINT, b BIGINT);
INSERT INTO r0 VALUES (1, 2), (2, NULL), (2, 2);
CREATE MATERIALIZED VIEW v0 AS SELECT t0.a AS c0, t1.x2 AS c1 FROM r0 AS t0 CROSS JOIN LATERAL (SELECT t2.c0 AS x2 FROM (SELECT t4.c2 AS c0 FROM r0 AS t3 CROSS JOIN LATERAL (SELECT t5.b AS c2 FROM r0 AS t5 WHERE t5.a = t3.b) AS t4) AS t2) AS t1;
INSERT INTO r0 VALUES (2, 7);
