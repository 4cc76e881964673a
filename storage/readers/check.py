"""Reads every table of a warehouse with PyIceberg and DuckDB and compares with what the warehouse's maker expects.

Usage: check.py <directory with catalog.db> <expected.json>
Needs the packages pyiceberg[sql-sqlite,pyarrow], duckdb, duckdb-extension-iceberg, duckdb-extension-avro. The DuckDB
extensions come as wheels from the package index and are loaded by path, so nothing is downloaded at run time.
"""

import glob
import importlib.util
import json
import os
import sys

import duckdb
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import StaticTable


def text(value):
    return "NULL" if value is None else str(value)


def lines(names, table):
    rows = table.to_pylist()
    return sorted(",".join(text(row[name]) for name in names) for row in rows)


def connect():
    connection = duckdb.connect()
    for name in ("avro", "iceberg"):
        spec = importlib.util.find_spec(f"duckdb_extension_{name}")
        folder = os.path.join(os.path.dirname(spec.origin), "extensions", "*", f"{name}.duckdb_extension")
        connection.execute(f"LOAD '{glob.glob(folder)[0]}'")
    return connection


def main():
    directory, expected = sys.argv[1], json.load(open(sys.argv[2]))
    catalog = SqlCatalog("frazil", uri=f"sqlite:///{directory}/catalog.db", warehouse=f"file://{directory}")
    connection = connect()
    for name, want in expected.items():
        rows, columns = want["rows"], want["columns"]
        location = want["metadata"]
        readers = {
            "PyIceberg SqlCatalog": lambda: catalog.load_table(f"default.{name}").scan().to_arrow(),
            "PyIceberg StaticTable": lambda: StaticTable.from_metadata(location).scan().to_arrow(),
            "DuckDB": lambda: connection.execute(f"SELECT * FROM iceberg_scan('{location}')").to_arrow_table(),
        }
        for reader, read in readers.items():
            table = read()
            got = lines(columns, table)
            assert got == sorted(rows), f"{reader} reads {name}: {got[:5]}... ({len(got)}), not {rows[:5]}... ({len(rows)})"
            print(f"{reader} reads {name}: {len(got)} rows, {table.num_columns} columns")
        filtered = want["filter"]
        for reader, count in {
            "PyIceberg": lambda: catalog.load_table(f"default.{name}").scan(row_filter=filtered).to_arrow().num_rows,
            "DuckDB": lambda: connection.execute(
                f"SELECT count(*) FROM iceberg_scan('{location}') WHERE {filtered}"
            ).fetchone()[0],
        }.items():
            got = count()
            assert got == want["filtered"], f"{reader} finds {got} rows of {name} with {filtered}, not {want['filtered']}"
        if want["all_columns_agree"]:
            left = readers["PyIceberg StaticTable"]().to_pylist()
            right = readers["DuckDB"]().to_pylist()
            left, right = ([{k: norm(v) for k, v in row.items()} for row in side] for side in (left, right))
            key = lambda row: repr(row[columns[0]])
            assert sorted(left, key=key) == sorted(right, key=key), f"{name}:\n{left}\n{right}"
            print(f"both agree on all columns of {name}: {left[:1]}")


def norm(value):
    """Maps come as pairs or as dictionaries, instants in one zone or another."""
    if isinstance(value, dict):
        return sorted((repr(k), norm(v)) for k, v in value.items())
    if isinstance(value, list):
        if value and isinstance(value[0], tuple):
            return sorted((repr(k), norm(v)) for k, v in value)
        return [norm(v) for v in value]
    if hasattr(value, "timestamp") and getattr(value, "tzinfo", None):
        return value.timestamp()
    return value


main()
