-- Uniform keys: 5 M rows over 1 M groups, in random order. Every epoch touches groups all over the state.
CREATE TABLE g (k BIGINT, v BIGINT) WITH (
  'connector' = 'datagen', 'rows-per-second' = '0', 'number-of-rows' = '5000000',
  'fields.k.kind' = 'random', 'fields.k.min' = '0', 'fields.k.max' = '999999', 'fields.v.min' = '0', 'fields.v.max' = '1000000'
);
CREATE MATERIALIZED VIEW grouped AS SELECT k, COUNT(*) AS n, SUM(v) AS total, MAX(v) AS highest FROM g GROUP BY k;
