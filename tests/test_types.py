"""A table with a column of every type, read by programs that know nothing of Frazil."""

import datetime
import decimal
import subprocess

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from frazil import PATIENCE, Warehouse, binary
from duck import duckdb_with

SQL = """
CREATE TABLE every (
  id BIGINT PRIMARY KEY, flag BOOLEAN, tiny TINYINT, small SMALLINT, whole INT, ratio REAL, real8 DOUBLE, money DECIMAL(38, 10),
  cents DECIMAL(9, 2), name VARCHAR, bytes BYTEA, day DATE, noon TIME, ts TIMESTAMP(3), instant TIMESTAMP WITH TIME ZONE,
  tags VARCHAR[], point STRUCT<x INT, y DOUBLE>, counts MAP<VARCHAR, BIGINT>, tree ROW(name VARCHAR, leaves ARRAY<STRUCT<k INT, v VARCHAR>>),
  doc JSON, ident UUID
);
INSERT INTO every VALUES
  (1, true, 127, -32768, 2147483647, 0.5, 1e100, 1234567890.0123456789, -0.01, 'naïve', '\\x00ff', DATE '2024-02-29', TIME '23:59:59.999999',
   TIMESTAMP '2024-02-29 10:00:00.123', TIMESTAMP WITH TIME ZONE '2024-02-29 10:00:00+02:00', ARRAY['a', NULL], ROW(1, 2.5), MAP {'x': 1},
   ROW('t', ARRAY[named_struct('k', 1, 'v', 'one')]), '{"a": 1}', UUID '550E8400-E29B-41D4-A716-446655440000'),
  (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE MATERIALIZED VIEW copied AS SELECT * FROM every;
FLUSH;
"""

UTC = datetime.timezone.utc
WANTED = {
    "id": 1, "flag": True, "tiny": 127, "small": -32768, "whole": 2147483647, "ratio": 0.5, "real8": 1e100,
    "money": decimal.Decimal("1234567890.0123456789"), "cents": decimal.Decimal("-0.01"), "name": "naïve", "bytes": b"\x00\xff",
    "day": datetime.date(2024, 2, 29), "noon": datetime.time(23, 59, 59, 999999), "ts": datetime.datetime(2024, 2, 29, 10, 0, 0, 123000),
    "instant": datetime.datetime(2024, 2, 29, 8, 0, 0, tzinfo=UTC), "tags": ["a", None], "point": {"x": 1, "y": 2.5}, "counts": {"x": 1},
    "tree": {"name": "t", "leaves": [{"k": 1, "v": "one"}]}, "doc": '{"a": 1}', "ident": "550e8400-e29b-41d4-a716-446655440000",
}
EMPTY = {name: None for name in WANTED} | {"id": 2}


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    warehouse = Warehouse(tmp_path_factory.mktemp("types") / "warehouse")
    done = subprocess.run(
        [binary(), "sql", "-w", str(warehouse.path)], input=SQL, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return warehouse


def rows_of(arrow):
    """The rows by id; Arrow gives maps as lists of pairs."""
    rows = sorted(arrow.to_pylist(), key=lambda row: row["id"])
    return [row | {"counts": row["counts"] and dict(row["counts"])} for row in rows]


def test_pyiceberg_reads_every_type(every):
    table = SqlCatalog("frazil", uri=f"sqlite:///{every.path}/catalog.db").load_table("default.copied")
    assert rows_of(table.scan().to_arrow()) == [WANTED, EMPTY]


def test_duckdb_reads_every_type(every):
    db = duckdb_with("avro", "iceberg")
    db.execute("SET TimeZone = 'UTC'")
    found = db.execute(f"SELECT * FROM iceberg_scan('{every.metadata_location('copied')}') ORDER BY id")
    assert rows_of(found.fetch_arrow_table()) == [WANTED, EMPTY]


def test_frazil_prints_every_type_as_json(every):
    command = [binary(), "sql", "-w", str(every.path), "--format", "json", "-c", "SELECT * FROM copied WHERE id = 1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert '"counts":{"x":1}' in done.stdout and '"tags":["a",null]' in done.stdout, done.stdout
