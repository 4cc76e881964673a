-- VALUES on the outer side of a join have ended, but rows of the other side can still be retracted.
-- tasks: 1
CREATE TABLE r1 (a BIGINT, b TIMESTAMP(3), c VARCHAR, PRIMARY KEY (a));
CREATE MATERIALIZED VIEW v0 AS SELECT t2.a AS c3 FROM r1 AS t1 RIGHT JOIN (VALUES (4, ''), (2, '')) AS t2 (a, b) ON t1.a = t2.a;
INSERT INTO r1 VALUES (4, TIMESTAMP '2024-01-01 00:00:40', 'y');
DELETE FROM r1;
