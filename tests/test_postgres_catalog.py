"""A warehouse whose catalog is on a PostgreSQL server."""

import subprocess
import threading
import time
from collections import Counter

import pytest
from pyiceberg.catalog.sql import SqlCatalog

import flights
from frazil import PATIENCE, Warehouse, binary, difference, wait_until
from postgres import PASSWORD, Postgres
from server import Server


@pytest.fixture(scope="module")
def postgres():
    postgres = Postgres()
    yield postgres
    postgres.stop()


@pytest.fixture(scope="module")
def finished(postgres, tmp_path_factory):
    """The example, killed once and resumed."""
    warehouse = Warehouse(tmp_path_factory.mktemp("postgres") / "warehouse", "--catalog", postgres.url())
    with warehouse.run(flights.SQL) as job:
        wait_until(lambda: (warehouse.path / "_state").exists(), "the first checkpoint is on its way")
        job.kill()
    warehouse.run_to_end(flights.SQL, parallelism=3)
    return warehouse


def sql(warehouse, statement, *more):
    command = [binary(), "sql", "-w", str(warehouse), *more, "--format", "csv", "-c", statement]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)


@pytest.mark.parametrize("layer", flights.LAYERS)
def test_frazil_and_pyiceberg_read_what_duckdb_computes(postgres, finished, oracle, layer):
    types, wanted = oracle[layer]
    assert difference(finished.table(layer, types), wanted) == ""
    catalog = SqlCatalog("frazil", uri=postgres.alchemy())
    assert sorted(table[-1] for table in catalog.list_tables("default")) == sorted(flights.LAYERS)
    arrow = catalog.load_table(f"default.{layer}").scan().to_arrow()
    rows = Counter(zip(*(column.to_pylist() for column in arrow.columns)))
    assert difference(rows, wanted) == ""


def test_other_programs_cannot_write(postgres, finished):
    catalog = SqlCatalog("frazil", uri=postgres.alchemy())
    with pytest.raises(Exception, match="written by Frazil"):
        catalog.drop_table(f"default.{flights.LAYERS[0]}")


def test_the_password_is_nowhere(postgres, finished):
    assert not (finished.path / "catalog.db").exists()
    for file in finished.path.parent.rglob("*"):
        assert file.is_dir() or PASSWORD.encode() not in file.read_bytes(), file
    wrong = sql(finished.path, "SELECT 1", "--catalog", postgres.url(password="wr0ng-pass"))
    assert wrong.returncode != 0 and "PGPASSWORD" in wrong.stderr and "wr0ng-pass" not in wrong.stderr, wrong.stderr
    printed = subprocess.run(
        [binary(), "server", "--catalog", postgres.url(), "--print-config"], capture_output=True, text=True
    )
    assert "catalog" in printed.stdout and PASSWORD not in printed.stdout


def test_a_forgotten_catalog_is_told(postgres, finished):
    forgotten = sql(finished.path, "SELECT 1")
    assert forgotten.returncode != 0 and "--catalog" in forgotten.stderr, forgotten.stderr
    assert not (finished.path / "catalog.db").exists()


def test_schemas_are_catalogs_of_their_own(postgres, finished, tmp_path):
    other = Warehouse(tmp_path / "warehouse", "--catalog", postgres.url("other"))
    assert other.query("SHOW TABLES") == []


def test_connections_are_encrypted_as_asked(postgres, tmp_path):
    trusted = postgres.url("tls", sslmode="verify-ca", sslrootcert=postgres.certificate)
    done = sql(tmp_path / "warehouse", "SELECT 1", "--catalog", trusted)
    assert done.returncode == 0, done.stderr
    untrusted = sql(tmp_path / "warehouse", "SELECT 1", "--catalog", postgres.url("tls", sslmode="verify-full"))
    assert untrusted.returncode != 0 and "sslrootcert" in untrusted.stderr, untrusted.stderr


def test_processes_share_a_catalog_through_crashes_of_its_server(postgres, tmp_path):
    """A server keeps a view, two of its clients and other processes insert, and PostgreSQL crashes twice meanwhile."""
    url = postgres.url("shared")
    server = Server(tmp_path, "--catalog", url)
    with server.connect(autocommit=True) as connection:
        connection.execute("CREATE TABLE t (id BIGINT PRIMARY KEY, writer BIGINT)")
        connection.execute("CREATE MATERIALIZED VIEW v AS SELECT writer, COUNT(*) AS n FROM t GROUP BY writer")
    stop, known, unknown = threading.Event(), [set(), set()], [set(), set()]

    def insert(writer):
        number = 0
        while not stop.is_set():
            row, number = number * 2 + writer, number + 1
            unknown[writer].add(row)
            try:
                with server.connect(autocommit=True) as connection:
                    connection.execute(f"INSERT INTO t VALUES ({row}, {writer})")
                known[writer].add(row)
                unknown[writer].discard(row)
            except Exception:
                time.sleep(0.1)

    writers = [threading.Thread(target=insert, args=[writer]) for writer in (0, 1)]
    for writer in writers:
        writer.start()
    for number in range(2):
        time.sleep(2)
        postgres.crash()
        time.sleep(0.5)
        postgres.start()
        wait_until(
            lambda: sql(tmp_path / "warehouse", f"INSERT INTO t VALUES ({-1 - number}, 2)", "--catalog", url).returncode == 0,
            "another process can insert",
        )
    time.sleep(2)
    stop.set()
    for writer in writers:
        writer.join()
    with server.connect(autocommit=True) as connection:
        rows = connection.execute("SELECT id, writer FROM t").fetchall()
        for writer in (0, 1):
            there = {row for row, by in rows if by == writer}
            assert known[writer] <= there <= known[writer] | unknown[writer]
            assert len(known[writer]) > 10
        counts = sorted(Counter(by for _, by in rows).items())
        wait_until(lambda: connection.execute("SELECT writer, n FROM v ORDER BY writer").fetchall() == counts, "the view follows")
    assert PASSWORD not in (tmp_path / "server.log").read_text()
    assert server.stop() == 0
