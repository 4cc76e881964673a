-- A month of flights from the three airports of New York, in layers that build on each other.
--
--   cargo run --release --bin frazil -- run examples/flights/flights.sql
--
-- Paths start at the directory of this file. The inputs end, so the run does too. To keep it open for new files, add
-- 'source.monitor-interval' = '1s' to the options of `flights`, and copy further days into data/flights while it runs.

-- Layer 1: what the files hold. "NA" stands for a value that is not known.

CREATE TABLE flights (
  year INT,
  month INT,
  day INT,
  dep_time INT,
  sched_dep_time INT,
  dep_delay INT,
  arr_time INT,
  sched_arr_time INT,
  arr_delay INT,
  carrier VARCHAR,
  flight INT,
  tailnum VARCHAR,
  origin VARCHAR,
  dest VARCHAR,
  air_time INT,
  distance INT,
  hour INT,
  minute INT,
  time_hour TIMESTAMP(3),
  WATERMARK FOR time_hour AS time_hour - INTERVAL '1' DAY
) WITH (
  'connector' = 'filesystem',
  'path' = 'data/flights/*.csv.gz',
  'format' = 'csv',
  'csv.header' = 'true',
  'csv.null-literal' = 'NA'
);

CREATE TABLE weather (
  origin VARCHAR,
  year INT,
  month INT,
  day INT,
  hour INT,
  temp DOUBLE,
  dewp DOUBLE,
  humid DOUBLE,
  wind_dir INT,
  wind_speed DOUBLE,
  wind_gust DOUBLE,
  precip DOUBLE,
  pressure DOUBLE,
  visib DOUBLE,
  time_hour TIMESTAMP(3)
) WITH (
  'connector' = 'filesystem',
  'path' = 'data/weather.csv.gz',
  'format' = 'csv',
  'csv.header' = 'true',
  'csv.null-literal' = 'NA'
);

CREATE TABLE planes (
  tailnum VARCHAR,
  year INT,
  type VARCHAR,
  manufacturer VARCHAR,
  model VARCHAR,
  engines INT,
  seats INT,
  speed INT,
  engine VARCHAR
) WITH (
  'connector' = 'filesystem',
  'path' = 'data/planes.csv',
  'format' = 'csv',
  'csv.header' = 'true',
  'csv.null-literal' = 'NA'
);

CREATE TABLE airlines (
  carrier VARCHAR,
  name VARCHAR
) WITH (
  'connector' = 'filesystem',
  'path' = 'data/airlines.csv',
  'format' = 'csv',
  'csv.header' = 'true'
);

-- Layer 2: one row per flight, with its airline, its plane where that is known, and the weather of its hour.

CREATE MATERIALIZED VIEW flights_clean AS
SELECT
  f.time_hour,
  f.origin,
  f.dest,
  f.carrier,
  a.name AS airline,
  f.flight,
  f.tailnum,
  p.manufacturer,
  p.model,
  p.seats,
  f.dep_time IS NULL AS cancelled,
  f.dep_delay,
  f.arr_delay,
  f.distance,
  w.temp,
  w.wind_speed,
  w.precip,
  w.visib
FROM flights f
JOIN airlines a ON f.carrier = a.carrier
LEFT JOIN planes p ON f.tailnum = p.tailnum
LEFT JOIN weather w ON f.origin = w.origin AND f.time_hour = w.time_hour
WHERE f.time_hour IS NOT NULL AND f.origin IS NOT NULL AND f.dest IS NOT NULL;

-- Layer 3: departures and delays per hour, airport and carrier. Its counts add up to the rows of layer 2, at every moment.

CREATE MATERIALIZED VIEW hourly_departures AS
SELECT
  window_start,
  window_end,
  origin,
  carrier,
  COUNT(*) AS scheduled,
  COUNT(*) FILTER (WHERE NOT cancelled) AS departed,
  COUNT(*) FILTER (WHERE dep_delay > 15) AS late,
  SUM(dep_delay) AS total_delay,
  AVG(dep_delay) AS mean_delay,
  MAX(dep_delay) AS longest_delay,
  COUNT(DISTINCT dest) AS destinations
FROM TABLE(TUMBLE(TABLE flights_clean, DESCRIPTOR(time_hour), INTERVAL '1' HOUR))
GROUP BY window_start, window_end, origin, carrier;

-- Layer 4: the ten routes of every airport that arrive latest, among those flown at least ten times.

CREATE MATERIALIZED VIEW worst_routes AS
SELECT origin, place, dest, flights, mean_delay
FROM (
  SELECT
    origin,
    dest,
    flights,
    mean_delay,
    ROW_NUMBER() OVER (PARTITION BY origin ORDER BY mean_delay DESC, dest) AS place
  FROM (
    SELECT origin, dest, COUNT(arr_delay) AS flights, AVG(arr_delay) AS mean_delay
    FROM flights_clean
    GROUP BY origin, dest
    HAVING COUNT(arr_delay) >= 10
  )
)
WHERE place <= 10;
