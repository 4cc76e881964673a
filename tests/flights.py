"""The flights example: its result as another program computes it, and a paced copy whose files arrive one by one."""

import os
import pathlib
import threading
from collections import Counter

import duckdb

from frazil import ROOT

EXAMPLE = ROOT / "examples" / "flights"
SQL = EXAMPLE / "flights.sql"
LAYERS = ["flights_clean", "hourly_departures", "worst_routes"]

# The views once more, in DuckDB's SQL and written apart from those of the example. Means are divisions of exact sums: DuckDB's own AVG divides with
# more than 64 bits and then rounds twice.
ORACLE = """
CREATE TABLE flights_clean AS
SELECT f.time_hour, f.origin, f.dest, f.carrier, a.name AS airline, f.flight, f.tailnum, p.manufacturer, p.model, p.seats,
       f.dep_time IS NULL AS cancelled, f.dep_delay, f.arr_delay, f.distance, w.temp, w.wind_speed, w.precip, w.visib
FROM flights f
JOIN airlines a USING (carrier)
LEFT JOIN planes p ON p.tailnum = f.tailnum
LEFT JOIN weather w ON w.origin = f.origin AND w.time_hour = f.time_hour;

CREATE TABLE hourly_departures AS
SELECT date_trunc('hour', time_hour) AS window_start, date_trunc('hour', time_hour) + INTERVAL 1 HOUR AS window_end,
       origin, carrier, COUNT(*) AS scheduled, SUM(CASE WHEN cancelled THEN 0 ELSE 1 END)::BIGINT AS departed,
       SUM(CASE WHEN dep_delay > 15 THEN 1 ELSE 0 END)::BIGINT AS late, SUM(dep_delay)::BIGINT AS total_delay,
       SUM(dep_delay)::DOUBLE / COUNT(dep_delay)::DOUBLE AS mean_delay, MAX(dep_delay) AS longest_delay,
       len(list_distinct(list(dest)))::BIGINT AS destinations
FROM flights_clean
GROUP BY ALL;

CREATE TABLE worst_routes AS
WITH routes AS (
  SELECT origin, dest, COUNT(arr_delay) AS flights, SUM(arr_delay)::DOUBLE / COUNT(arr_delay)::DOUBLE AS mean_delay
  FROM flights_clean GROUP BY ALL
)
SELECT r.origin, (1 + COUNT(b.dest))::BIGINT AS place, r.dest, r.flights, r.mean_delay
FROM routes r
LEFT JOIN routes b ON b.origin = r.origin AND b.flights >= 10
  AND (b.mean_delay > r.mean_delay OR (b.mean_delay = r.mean_delay AND b.dest < r.dest))
WHERE r.flights >= 10
GROUP BY ALL
HAVING place <= 10;
"""


def oracle():
    """name -> (types of the columns, bag of rows)."""
    db = duckdb.connect()
    data = EXAMPLE / "data"
    for name, files in (
        ("flights", "flights/*.csv.gz"),
        ("weather", "weather.csv.gz"),
        ("planes", "planes.csv"),
        ("airlines", "airlines.csv"),
    ):
        # Times are UTC, and the tables have no time zone.
        types = ", types = {'time_hour': 'TIMESTAMP'}" if name in ("flights", "weather") else ""
        db.execute(
            f"CREATE TABLE {name} AS SELECT * FROM read_csv('{data / files}', header = true, nullstr = 'NA', sample_size = -1{types})"
        )
    db.execute(ORACLE)
    return {name: contents(db, f"SELECT * FROM {name}") for name in LAYERS}


def contents(db, query):
    """Types of the columns and bag of rows of a DuckDB query."""
    result = db.execute(query)
    types = [str(column[1]) for column in result.description]
    return types, Counter(result.fetchall())


class Paced:
    """A copy of the example that follows its directory, and days that are moved there one by one."""

    def __init__(self, directory):
        directory = pathlib.Path(directory)
        self.days = sorted((EXAMPLE / "data" / "flights").iterdir())
        self.arrived = directory / "data" / "flights"
        self.arrived.mkdir(parents=True)
        for entry in (EXAMPLE / "data").iterdir():
            if entry.is_file():
                (directory / "data" / entry.name).symlink_to(entry)
        pattern = "'path' = 'data/flights/*.csv.gz',"
        text = SQL.read_text()
        assert text.count(pattern) == 1
        self.sql = directory / "flights.sql"
        self.sql.write_text(text.replace(pattern, f"{pattern}\n  'source.monitor-interval' = '50ms',"))

    def feed(self, seconds):
        """Starts to deliver all days, spread over this time; returns the thread."""
        stop = threading.Event()

        def deliver():
            for day in self.days:
                unfinished = self.arrived / f"_{day.name}"
                unfinished.write_bytes(day.read_bytes())
                os.rename(unfinished, self.arrived / day.name)
                stop.wait(seconds / len(self.days))

        thread = threading.Thread(target=deliver, daemon=True)
        thread.start()
        return thread
