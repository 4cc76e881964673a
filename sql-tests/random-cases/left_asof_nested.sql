-- LEFT ASOF JOIN took the MATCH_CONDITION of a join within its right side for its own.
-- tasks: 1
CREATE TABLE r0 (a BIGINT, b BIGINT);
INSERT INTO r0 VALUES (1, 2), (2, NULL), (2, 3), (1, 7);
CREATE MATERIALIZED VIEW v0 AS SELECT t0.a AS c0, t0.b AS c1, t1.c1 AS c2 FROM r0 AS t0 LEFT ASOF JOIN (SELECT t2.a AS c0, t3.b AS c1 FROM r0 AS t2 ASOF JOIN r0 AS t3 MATCH_CONDITION (t2.b > t3.b) ON t2.a = t3.a) AS t1 MATCH_CONDITION (t0.b >= t1.c1) ON t0.a = t1.c0;
INSERT INTO r0 VALUES (1, 1), (2, 1);
