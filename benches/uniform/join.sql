-- Uniform keys: 2 M rows joined with 1 M, about two matches each, then counted.
CREATE TABLE l (k BIGINT, v BIGINT) WITH (
  'connector' = 'datagen', 'rows-per-second' = '0', 'number-of-rows' = '2000000',
  'fields.k.kind' = 'random', 'fields.k.min' = '0', 'fields.k.max' = '999999', 'fields.v.min' = '0', 'fields.v.max' = '1000000'
);
CREATE TABLE r (k BIGINT, w BIGINT) WITH (
  'connector' = 'datagen', 'rows-per-second' = '0', 'number-of-rows' = '1000000',
  'fields.k.kind' = 'random', 'fields.k.min' = '0', 'fields.k.max' = '999999', 'fields.w.min' = '0', 'fields.w.max' = '1000000'
);
CREATE MATERIALIZED VIEW joined AS SELECT COUNT(*) AS pairs, SUM(l.v + r.w) AS total FROM l JOIN r ON l.k = r.k;
