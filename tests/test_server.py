"""`frazil server` over the PostgreSQL protocol: psql, psycopg, transactions, cancellation, and kills while clients insert."""

import datetime
import decimal
import subprocess
import threading
import time

import psycopg
import pytest

from frazil import PATIENCE, binary
from server import Server

TYPES = """k BIGINT PRIMARY KEY, b BOOLEAN, i INT, r REAL, d DOUBLE, n DECIMAL(38, 10), s VARCHAR, y BYTEA, da DATE, ti TIME,
ts TIMESTAMP, tz TIMESTAMP WITH TIME ZONE"""
ROW = (
    1,
    True,
    -5,
    1.5,
    2.25,
    decimal.Decimal("12345678901234567890.0123456789"),
    "it's é, \\ \"x\"",
    b"\x00\xff",
    datetime.date(1999, 12, 31),
    datetime.time(1, 2, 3, 4),
    datetime.datetime(2024, 2, 29, 1, 2, 3, 456),
    datetime.datetime(1969, 7, 20, 20, 17, tzinfo=datetime.timezone.utc),
)
NULLS = (2,) + (None,) * 11


@pytest.fixture
def connection(server):
    with server.connect(autocommit=True) as connection:
        yield connection


def fresh(connection, name, columns):
    connection.execute(f"DROP TABLE IF EXISTS {name} CASCADE")
    connection.execute(f"CREATE TABLE {name} ({columns})")


def test_psql_prints_what_postgresql_prints(server, connection):
    fresh(connection, "printed", "k BIGINT PRIMARY KEY, at TIMESTAMP, price DECIMAL(10, 2), tags VARCHAR[], ok BOOLEAN")
    script = """
    INSERT INTO printed VALUES (1, '2024-01-01 10:00:00.5', 12.5, ARRAY['x', 'y z'], TRUE), (2, NULL, NULL, NULL, NULL);
    SELECT * FROM printed ORDER BY k;
    SELECT 1e15::DOUBLE AS big, 0.1::REAL AS small, INTERVAL '1 year 2 months 3 days 4 hours 5 minutes 6 seconds' AS long, 'a'::BYTEA AS bytes;
    """
    command = ["psql", "-X", "-A", "-h", "127.0.0.1", "-p", str(server.port), "-U", "tester", "frazil", "-f", "-"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.splitlines() == [
        "INSERT 0 2",
        "k|at|price|tags|ok",
        '1|2024-01-01 10:00:00.5|12.50|{x,"y z"}|t',
        "2||||",
        "(2 rows)",
        "big|small|long|bytes",
        "1e+15|0.1|1 year 2 mons 3 days 04:05:06|\\x61",
        "(1 row)",
    ], done.stderr
    failed = subprocess.run(command[:-2] + ["-c", "SELECT\n  nothing FROM printed"], capture_output=True, text=True, timeout=PATIENCE)
    assert failed.returncode == 1
    assert "LINE 2:   nothing FROM printed" in failed.stderr, failed.stderr


@pytest.mark.parametrize("in_binary", [False, True])
def test_every_type_comes_back_in_both_formats(connection, in_binary):
    fresh(connection, "types", TYPES)
    mark = "%b" if in_binary else "%t"
    insert = f"INSERT INTO types VALUES ({', '.join([mark] * len(ROW))})"
    for row in (ROW, NULLS):
        assert connection.execute(insert, row).statusmessage == "INSERT 0 1"
    cursor = connection.cursor(binary=in_binary)
    assert cursor.execute("SELECT * FROM types ORDER BY k").fetchall() == [ROW, NULLS]
    for column, value in zip(cursor.description, ROW, strict=True):
        found = cursor.execute(f"SELECT k FROM types WHERE {column.name} = {mark}", (value,)).fetchall()
        assert found == [(1,)], column.name
    arrays = cursor.execute("SELECT ARRAY[1, NULL, 3], ARRAY['a', 'b c', NULL, ''], ARRAY[ARRAY[1, 2], ARRAY[3, 4]]").fetchone()
    assert arrays == ([1, None, 3], ["a", "b c", None, ""], [[1, 2], [3, 4]])


def test_statements_can_be_prepared(connection):
    fresh(connection, "prepared", "k BIGINT PRIMARY KEY, s VARCHAR")
    for k in range(5):
        connection.execute("INSERT INTO prepared VALUES (%s, %s)", (k, f"s{k}"), prepare=True)
    for k in range(5):
        found = connection.execute("SELECT s FROM prepared WHERE k = %s LIMIT %s", (k, 1), prepare=True).fetchall()
        assert found == [(f"s{k}",)]
    assert connection.execute("UPDATE prepared SET s = %s WHERE k > %s", ("new", 2)).statusmessage == "UPDATE 2"
    assert connection.execute("DELETE FROM prepared WHERE s = %s", ("new",)).statusmessage == "DELETE 2"
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        connection.execute("SELECT * FROM prepared WHERE k = %s::BIGINT", ("x",))


def test_errors_say_what_where_and_what_to_do(connection):
    with pytest.raises(psycopg.errors.UndefinedTable) as raised:
        connection.execute("SELECT * FROM nowhere")
    diagnosis = raised.value.diag
    assert (diagnosis.statement_position, diagnosis.message_hint) == ("15", "SHOW TABLES lists what there is")
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.execute("SELECT 1 / 0")
    with pytest.raises(psycopg.errors.SyntaxError):
        connection.execute("SELEC 1")
    assert connection.execute("SELECT 1").fetchall() == [(1,)]


def test_a_transaction_sees_its_own_changes_and_nobody_else_does_before_it_commits(server, connection):
    fresh(connection, "accounts", "k BIGINT PRIMARY KEY, s VARCHAR")
    fresh(connection, "journal", "k BIGINT, s VARCHAR")
    seen = lambda by: by.execute("SELECT k, s FROM accounts ORDER BY k").fetchall()
    with server.connect() as other:
        other.execute("INSERT INTO accounts VALUES (1, 'one')")
        other.execute("INSERT INTO accounts VALUES (2, 'two'), (1, 'ONE')")
        other.execute("UPDATE accounts SET s = s || '!' WHERE k = 2")
        other.execute("INSERT INTO journal SELECT * FROM accounts")
        assert seen(other) == [(1, "ONE"), (2, "two!")]
        assert seen(connection) == []
        other.rollback()
        assert seen(other) == []
        other.execute("INSERT INTO accounts VALUES (1, 'one')")
        other.execute("INSERT INTO journal SELECT * FROM accounts")
        before = connection.execute("SELECT COUNT(*) FROM journal").fetchone()
        other.commit()
        assert (before, seen(connection)) == ((0,), [(1, "one")])
        assert connection.execute("SELECT * FROM journal").fetchall() == [(1, "one")]


def test_of_two_transactions_that_change_one_row_the_second_fails(server, connection):
    fresh(connection, "contended", "k BIGINT PRIMARY KEY, n BIGINT")
    connection.execute("INSERT INTO contended VALUES (1, 0)")
    with server.connect() as first, server.connect() as second:
        first.execute("UPDATE contended SET n = n + 1")
        second.execute("UPDATE contended SET n = n + 1")
        first.commit()
        with pytest.raises(psycopg.errors.SerializationFailure):
            second.commit()
    assert connection.execute("SELECT n FROM contended").fetchall() == [(1,)]


def test_a_failed_transaction_accepts_nothing_but_its_end(server, connection):
    fresh(connection, "failing", "k BIGINT PRIMARY KEY")
    with server.connect() as other:
        other.execute("INSERT INTO failing VALUES (1)")
        with pytest.raises(psycopg.errors.UndefinedTable):
            other.execute("SELECT * FROM nowhere")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            other.execute("SELECT 1")
        other.commit()
        assert other.execute("SELECT * FROM failing").fetchall() == []


def test_a_savepoint_keeps_what_came_before_it(server, connection):
    fresh(connection, "saved", "k BIGINT PRIMARY KEY")
    with server.connect() as other:
        other.execute("INSERT INTO saved VALUES (1)")
        other.execute("SAVEPOINT here")
        other.execute("INSERT INTO saved VALUES (2)")
        with pytest.raises(psycopg.errors.UndefinedTable):
            other.execute("SELECT * FROM nowhere")
        assert other.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
        other.execute("ROLLBACK TO SAVEPOINT here")
        assert other.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        other.execute("INSERT INTO saved VALUES (3)")
        other.execute("RELEASE SAVEPOINT here")
        other.commit()
    assert connection.execute("SELECT k FROM saved ORDER BY k").fetchall() == [(1,), (3,)]


def test_clients_find_out_what_there_is(server, connection):
    fresh(connection, "listed", "k BIGINT PRIMARY KEY, price DECIMAL(10, 2)")
    connection.execute("CREATE MATERIALIZED VIEW listed_sums AS SELECT COUNT(*) AS n FROM listed")
    tables = "SELECT table_name, table_type FROM information_schema.tables WHERE table_name LIKE %s ORDER BY table_name"
    assert connection.execute(tables, ("listed%",)).fetchall() == [("listed", "BASE TABLE"), ("listed_sums", "VIEW")]
    assert connection.execute("SELECT pg_catalog.version()").fetchone()[0].startswith("PostgreSQL 16")
    command = ["psql", "-X", "-A", "-t", "-h", "127.0.0.1", "-p", str(server.port), "-U", "tester", "frazil"]
    described = subprocess.run(command + ["-c", "\\d listed"], capture_output=True, text=True, timeout=PATIENCE)
    assert described.stdout.splitlines() == ["k|bigint||not null|", "price|numeric(10,2)|||"], described.stderr
    listed = subprocess.run(command + ["-c", "\\dm"], capture_output=True, text=True, timeout=PATIENCE)
    assert "public|listed_sums|materialized view|" in listed.stdout, listed.stderr
    connection.execute("DROP TABLE listed CASCADE")
    assert connection.execute(tables, ("listed%",)).fetchall() == []


def test_a_statement_is_cancelled_and_the_connection_goes_on(connection):
    threading.Timer(0.5, connection.cancel).start()
    start = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled):
        many = "generate_series(1, 1000000)"
        connection.execute(f"SELECT COUNT(*) FROM {many} AS a (x), {many} AS b (y) WHERE (x * y) % 7 = 3")
    assert time.monotonic() - start < 10
    assert connection.execute("SELECT 1").fetchall() == [(1,)]


def test_rows_come_in_portions(connection):
    rows = connection.cursor().stream("SELECT x FROM generate_series(1, 20000) AS g (x)")
    assert sum(x for (x,) in rows) == 20000 * 20001 // 2


def test_settings_are_those_of_one_connection(server, connection):
    with server.connect(autocommit=True) as other:
        connection.execute("SET commit_interval = '7s'")
        assert connection.execute("SHOW commit_interval").fetchone() == ("7s",)
        assert other.execute("SHOW commit_interval").fetchone() == ("100ms",)
        connection.execute("RESET commit_interval")
        assert connection.execute("SHOW commit_interval").fetchone() == ("100ms",)


@pytest.mark.parametrize("setting", ["implicit_flush", "rw_implicit_flush"])
def test_with_implicit_flush_views_reflect_a_change_when_it_is_acknowledged(server, connection, setting):
    fresh(connection, "flushed", "k BIGINT PRIMARY KEY, v BIGINT")
    connection.execute("CREATE MATERIALIZED VIEW flushed_sum AS SELECT count(*) AS n, sum(v) AS total FROM flushed")
    connection.execute("CREATE MATERIALIZED VIEW flushed_twice AS SELECT n * 2 AS n FROM flushed_sum")
    connection.execute(f"SET {setting} = true")
    for k in range(5):
        connection.execute("INSERT INTO flushed VALUES (%s, %s)", (k, k))
        assert connection.execute("SELECT n FROM flushed_twice").fetchone() == (2 * (k + 1),)
    connection.execute("UPDATE flushed SET v = 10 WHERE k = 0")
    assert connection.execute("SELECT total FROM flushed_sum").fetchone() == (20,)
    with connection.transaction():
        connection.execute("DELETE FROM flushed WHERE k > 1")
    assert connection.execute("SELECT n FROM flushed_twice").fetchone() == (4,)


def test_statements_of_one_text_are_one_transaction(connection):
    fresh(connection, "texts", "k BIGINT PRIMARY KEY")
    with pytest.raises(psycopg.Error):
        connection.execute("INSERT INTO texts VALUES (1); INSERT INTO texts VALUES (2); SELECT 1 / 0")
    assert connection.execute("SELECT * FROM texts").fetchall() == []
    connection.execute("INSERT INTO texts VALUES (1); INSERT INTO texts VALUES (2)")
    assert connection.execute("SELECT count(*) FROM texts").fetchone() == (2,)
    # Definitions are transactions of their own.
    connection.execute("CREATE TABLE texts_2 (k BIGINT); INSERT INTO texts_2 VALUES (1); DROP TABLE texts_2")


def test_what_is_read_only_does_not_write(server, connection):
    fresh(connection, "kept", "k BIGINT PRIMARY KEY")
    with server.connect() as reader:
        reader.read_only = True
        assert reader.execute("SELECT count(*) FROM kept").fetchone() == (0,)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            reader.execute("INSERT INTO kept VALUES (1)")
        reader.rollback()
        reader.read_only = False
        reader.execute("INSERT INTO kept VALUES (1)")
        reader.commit()
    connection.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("DELETE FROM kept")
    assert connection.execute("SHOW transaction_isolation").fetchone() == ("serializable",)


@pytest.mark.parametrize("key", [" PRIMARY KEY", ""])
def test_acknowledged_rows_survive_kills_and_views_follow(tmp_path, key):
    server = Server(tmp_path)
    with server.connect(autocommit=True) as connection:
        connection.execute(f"CREATE TABLE readings (k BIGINT{key}, v BIGINT)")
        connection.execute("CREATE MATERIALIZED VIEW sums AS SELECT v % 10 AS g, COUNT(*) AS n FROM readings GROUP BY v % 10")
        connection.execute("CREATE MATERIALIZED VIEW total AS SELECT SUM(n) AS n FROM sums")
    acknowledged, attempted, stop = set(), set(), threading.Event()

    def insert(client):
        number = 0
        while not stop.is_set():
            try:
                with server.connect(autocommit=True) as connection:
                    while not stop.is_set():
                        key = client * 1_000_000 + number
                        attempted.add(key)
                        number += 1
                        connection.execute("INSERT INTO readings VALUES (%s, %s)", (key, number))
                        acknowledged.add(key)
            except psycopg.Error:
                time.sleep(0.05)

    clients = [threading.Thread(target=insert, args=(client,)) for client in range(40)]
    for client in clients:
        client.start()
    for _ in range(2):
        time.sleep(1.5)
        server.kill()
        server.start()
    time.sleep(1)
    stop.set()
    for client in clients:
        client.join(PATIENCE)
    with server.connect(autocommit=True) as connection:
        connection.execute("FLUSH")
        keys = [key for (key,) in connection.execute("SELECT k FROM readings").fetchall()]
        assert len(keys) == len(set(keys))
        assert acknowledged <= set(keys) <= attempted
        assert len(acknowledged) > 50
        assert connection.execute("SELECT n FROM total").fetchone() == (len(keys),)
    assert server.stop() == 0


def test_an_address_that_others_can_reach_is_refused(tmp_path):
    command = [binary(), "server", "-w", str(tmp_path / "w"), "--pg", "0.0.0.0:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and "has no users" in done.stderr, done.stderr
