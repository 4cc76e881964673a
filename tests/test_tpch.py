"""The queries of TPC-H, kept up to date while rows come, change and go, equal what DuckDB computes over the same rows."""

import datetime
import math
import pathlib
import subprocess

import duckdb
import duckdb_extension_tpch
import pytest

from frazil import PATIENCE, ROOT, Warehouse, binary

TPCH = ROOT / "sql-tests" / "tpch"
QUERIES = [f"q{number}" for number in range(1, 23)]
SCALE = 0.001


def statements(file):
    return [sql.strip() for sql in (TPCH / file).read_text().split(";\n") if sql.strip()]


def without_comments(sql):
    return "\n".join(line for line in sql.splitlines() if not line.startswith("--"))


@pytest.fixture(scope="module")
def database():
    """DuckDB with the tables, made by its own generator, after all changes; and the rows before them as files."""
    db = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    (file,) = pathlib.Path(duckdb_extension_tpch.__path__[0]).glob("extensions/*/tpch.duckdb_extension")
    db.execute(f"LOAD '{file}'")
    db.execute(f"CALL dbgen(sf = {SCALE})")
    # With as few suppliers as that the generator gives some parts a supplier twice, against the primary key.
    db.execute("CREATE OR REPLACE TABLE partsupp AS SELECT DISTINCT ON (ps_partkey, ps_suppkey) * FROM partsupp")
    return db


@pytest.fixture(scope="module")
def kept(database, tmp_path_factory):
    """A warehouse with all queries as materialized views, after the same changes as the database."""
    directory = tmp_path_factory.mktemp("tpch")
    warehouse = Warehouse(directory / "warehouse")
    tables = [table for (table,) in database.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
    script = [without_comments(sql) for sql in statements("tables.sql")]
    script += [f"CREATE MATERIALIZED VIEW {name} AS {(TPCH / f'{name}.sql').read_text()}" for name in QUERIES]
    for table in tables:
        path = directory / f"{table}.csv"
        database.execute(f"COPY {table} TO '{path}' (HEADER)")
        (create,) = [sql for sql in script if sql.startswith(f"CREATE TABLE {table} (")]
        columns = create.split("(", 1)[1].rsplit(")", 1)[0].split(", PRIMARY KEY")[0].replace(" PRIMARY KEY", "")
        options = f"'connector' = 'filesystem', 'path' = '{path}', 'format' = 'csv', 'csv.header' = 'true'"
        script.append(f"CREATE TABLE {table}_file ({columns}) WITH ({options})")
    for parity in (1, 0):
        for table in tables:
            key = database.execute(f"SELECT * FROM {table} LIMIT 0").description[0][0]
            script.append(f"INSERT INTO {table} SELECT * FROM {table}_file WHERE {key} % 2 = {parity}")
    for change in statements("changes.sql"):
        change = without_comments(change)
        script.append(change)
        database.execute(change)
    script.append("FLUSH")
    file = directory / "tpch.sql"
    file.write_text(";\n".join(script) + ";\n")
    command = [binary(), "sql", "-w", str(warehouse.path), "-f", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=5 * PATIENCE)
    assert done.returncode == 0, done.stderr
    return warehouse


def split(row):
    """The cells of a row that must be equal, and its numbers, which may differ in the last digits: means and quotients of decimals
    have more digits in one program than in the other."""
    exact, numbers = [], []
    for place, cell in enumerate(row):
        try:
            numbers.append(float(cell))
        except (TypeError, ValueError):
            exact.append((place, str(cell.isoformat() if isinstance(cell, datetime.date) else cell)))
    return exact, numbers


def bag(rows):
    return sorted(map(split, rows))


def close(one, other):
    (exact, numbers), (wanted, others) = one, other
    return exact == wanted and all(math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-4) for a, b in zip(numbers, others, strict=True))


@pytest.mark.parametrize("name", QUERIES)
def test_a_kept_query_is_what_duckdb_computes(database, kept, name):
    found = bag(kept.query(f"SELECT * FROM {name}"))
    wanted = bag(database.execute((TPCH / f"{name}.sql").read_text()).fetchall())
    assert wanted, "a query that finds nothing tests nothing"
    assert len(found) == len(wanted)
    assert [pair for pair in zip(found, wanted) if not close(*pair)] == []
