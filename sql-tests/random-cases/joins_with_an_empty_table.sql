-- An empty table between two joins, and NULL in the others: batch could not be planned.
-- tasks: 1
CREATE TABLE r0 (a BIGINT, b BIGINT);
CREATE TABLE r1 (a BIGINT, b VARCHAR, c BIGINT);
INSERT INTO r1 VALUES (NULL, NULL, 2);
CREATE MATERIALIZED VIEW v0 AS SELECT t4.b AS c3 FROM r1 AS t3 JOIN r0 AS t4 ON t3.c = t4.b JOIN r1 AS t5 ON t3.b = t5.b;
