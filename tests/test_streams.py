"""COPY, cursors and SUBSCRIBE over the PostgreSQL protocol; SUBSCRIBE over HTTP."""

import datetime
import decimal
import json
import random
import subprocess
import threading
import urllib.error
import urllib.request

import psycopg
import pytest

from frazil import PATIENCE

COLUMNS = "k BIGINT PRIMARY KEY, s VARCHAR, d DOUBLE, n DECIMAL(12, 3), ok BOOLEAN, at TIMESTAMP, b BYTEA, tags VARCHAR[], day DATE"
ROWS = [
    (1, "plain", 1.5, decimal.Decimal("12.345"), True, datetime.datetime(2024, 2, 29, 1, 2, 3, 456), b"\x00\xff", ["a", None, "b c"], datetime.date(1999, 12, 31)),
    (2, "tab\tnewline\nback\\slash \"quoted\", comma", -0.1, decimal.Decimal("-1.000"), False, None, b"", [], None),
    (3, "", float("inf"), None, None, None, None, None, None),
    (4, None, None, None, None, None, None, ["NULL", "", '"', "\\"], None),
    (5, "\\N", None, None, None, None, None, None, None),
]


@pytest.fixture
def connection(server):
    with server.connect(autocommit=True) as connection:
        yield connection


@pytest.fixture
def tables(connection):
    for name in ("source", "target"):
        connection.execute(f"DROP TABLE IF EXISTS {name} CASCADE")
        connection.execute(f"CREATE TABLE {name} ({COLUMNS})")
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO source VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)", ROWS)
    return connection


def rows_of(connection, table):
    return connection.execute(f"SELECT * FROM {table} ORDER BY k").fetchall()


@pytest.mark.parametrize("options", ["", "(FORMAT csv)", "(FORMAT csv, HEADER, DELIMITER ';', NULL 'nil')", "(DELIMITER '|', NULL '')"])
def test_what_is_copied_out_can_be_copied_in(tables, options):
    if options == "(DELIMITER '|', NULL '')":
        # With this option an empty string reads as NULL, as PostgreSQL says.
        tables.execute("DELETE FROM source WHERE s = '' OR b = ''::BYTEA OR cardinality(tags) = 0")
    with tables.cursor() as cursor:
        with cursor.copy(f"COPY source TO STDOUT {options}") as copy:
            text = b"".join(bytes(part) for part in copy)
        with cursor.copy(f"COPY target FROM STDIN {options}") as copy:
            # Pieces that end within values, lines and characters.
            for start in range(0, len(text), 7):
                copy.write(text[start : start + 7])
    assert rows_of(tables, "target") == rows_of(tables, "source")


def test_the_binary_format(tables):
    columns = "k, s, d, n, ok, at, b, day"
    with tables.cursor() as cursor:
        with cursor.copy(f"COPY source ({columns}) TO STDOUT (FORMAT binary)") as copy:
            data = b"".join(bytes(part) for part in copy)
        assert data.startswith(b"PGCOPY\n\xff\r\n\0") and data.endswith(b"\xff\xff")
        with cursor.copy(f"COPY target ({columns}) FROM STDIN (FORMAT binary)") as copy:
            for start in range(0, len(data), 11):
                copy.write(data[start : start + 11])
    query = f"SELECT {columns} FROM %s ORDER BY k"
    assert tables.execute(query % "target").fetchall() == tables.execute(query % "source").fetchall()


def test_text_is_what_postgresql_writes(tables):
    with tables.cursor() as cursor, cursor.copy("COPY (SELECT k, s, tags FROM source ORDER BY k) TO STDOUT") as copy:
        text = b"".join(bytes(part) for part in copy).decode()
    assert text.splitlines() == [
        '1\tplain\t{a,NULL,"b c"}',
        '2\ttab\\tnewline\\nback\\\\slash "quoted", comma\t{}',
        "3\t\t\\N",
        '4\t\\N\t{"NULL","","\\\\"","\\\\\\\\"}',
        "5\t\\\\N\t\\N",
    ]


@pytest.mark.parametrize(
    "text, code, where",
    [
        ("1\tx\n2\n", "22P04", "COPY target, line 2"),
        ("1\tx\nzwei\ty\n", "22P02", "COPY target, line 2, column k"),
        ("1\tx\ty\n", "22P04", "COPY target, line 1"),
        ("\\N\tx\n", "23502", None),
    ],
)
def test_a_malformed_row_is_named_and_nothing_is_copied(tables, text, code, where):
    with pytest.raises(psycopg.Error) as error:
        with tables.cursor() as cursor, cursor.copy("COPY target (k, s) FROM STDIN") as copy:
            copy.write("0\tgood\n" + text if where is None else text)
    assert error.value.sqlstate == code, error.value
    assert error.value.diag.context == where
    assert rows_of(tables, "target") == []
    # The connection goes on.
    assert tables.execute("SELECT 1").fetchone() == (1,)


def test_copy_is_part_of_its_transaction(server, tables):
    with server.connect() as connection, connection.cursor() as cursor:
        with cursor.copy("COPY target (k, s) FROM STDIN") as copy:
            copy.write_row((1, "one"))
        assert cursor.execute("SELECT k, s FROM target").fetchall() == [(1, "one")]
        assert rows_of(tables, "target") == []
        connection.rollback()
        assert cursor.execute("SELECT k, s FROM target").fetchall() == []
        with cursor.copy("COPY target (k, s) FROM STDIN") as copy:
            copy.write_row((2, "two"))
        connection.commit()
    assert tables.execute("SELECT k, s FROM target").fetchall() == [(2, "two")]


def test_a_copy_that_the_client_breaks_off_copies_nothing(tables):
    with pytest.raises(ZeroDivisionError):
        with tables.cursor() as cursor, cursor.copy("COPY target (k, s) FROM STDIN") as copy:
            copy.write_row((1, "one"))
            raise ZeroDivisionError
    assert rows_of(tables, "target") == []


def test_many_rows_without_a_key(connection):
    connection.execute("DROP TABLE IF EXISTS many CASCADE")
    connection.execute("CREATE TABLE many (k BIGINT, s VARCHAR)")
    connection.execute("CREATE MATERIALIZED VIEW many_count AS SELECT count(*) AS n, sum(k) AS total FROM many")
    with connection.cursor() as cursor, cursor.copy("COPY many FROM STDIN (FORMAT csv)") as copy:
        for start in range(0, 100_000, 1000):
            copy.write("".join(f"{k},row {k}\n" for k in range(start, start + 1000)))
    connection.execute("FLUSH")
    assert connection.execute("SELECT * FROM many_count").fetchall() == [(100_000, sum(range(100_000)))]


def test_psql_copies_files(server, tables, tmp_path):
    file = tmp_path / "rows.csv"
    script = f"\\copy source to '{file}' csv header\n\\copy target from '{file}' csv header\n"
    command = ["psql", "-X", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(server.port), "-U", "tester", "frazil"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (0, "COPY 5\nCOPY 5\n"), done.stderr
    assert rows_of(tables, "target") == rows_of(tables, "source")


def test_a_cursor_gives_a_result_piece_by_piece(server):
    with server.connect() as connection:
        with connection.cursor("pieces") as cursor:
            cursor.itersize = 7
            cursor.execute("SELECT value FROM generate_series(1, 100) ORDER BY value")
            assert cursor.fetchone() == (1,)
            assert [row[0] for row in cursor.fetchmany(5)] == [2, 3, 4, 5, 6]
            assert [row[0] for row in cursor] == list(range(7, 101))
        with pytest.raises(psycopg.errors.InvalidCursorName):
            connection.execute("FETCH 1 FROM pieces")


def test_cursors_end_with_their_transaction_unless_held(server):
    with server.connect(autocommit=True) as connection:
        with pytest.raises(psycopg.errors.NoActiveSqlTransaction):
            connection.execute("DECLARE c CURSOR FOR SELECT 1")
        connection.execute("BEGIN")
        connection.execute("DECLARE gone CURSOR FOR SELECT 1")
        connection.execute("DECLARE held CURSOR WITH HOLD FOR SELECT value FROM generate_series(1, 3) ORDER BY value")
        connection.execute("COMMIT")
        assert connection.execute("FETCH ALL FROM held").fetchall() == [(1,), (2,), (3,)]
        with pytest.raises(psycopg.errors.InvalidCursorName):
            connection.execute("FETCH 1 FROM gone")
        connection.execute("CLOSE held")


def applied(state, rows):
    """Applies the changes of whole versions to a bag of rows. Returns the last version that is whole."""
    reached, waiting = None, []
    for op, version, *row in rows:
        if op == "progress":
            for sign, row_ in waiting:
                state[row_] = state.get(row_, 0) + sign
                if not state[row_]:
                    del state[row_]
            reached, waiting = version, []
        else:
            waiting.append((1 if op == "insert" else -1, tuple(row)))
    return reached


def test_a_subscriber_sees_every_change_once_although_it_is_cut_off(server, connection):
    connection.execute("DROP TABLE IF EXISTS events CASCADE")
    connection.execute("CREATE TABLE events (k BIGINT PRIMARY KEY, grp BIGINT, v BIGINT)")
    connection.execute("CREATE MATERIALIZED VIEW sums AS SELECT grp, count(*) AS n, sum(v) AS total FROM events GROUP BY grp")
    connection.execute("INSERT INTO events VALUES (0, 0, 1), (1, 1, 1)")
    connection.execute("FLUSH")
    done = threading.Event()

    def write():
        with server.connect(autocommit=True) as writer:
            for k in range(300):
                writer.execute("INSERT INTO events VALUES (%s, %s, %s)", (k % 120, k % 7, k))
                if k % 50 == 0:
                    writer.execute("DELETE FROM events WHERE k = %s", (k,))
            writer.execute("FLUSH")
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    state, reached, pieces = {}, None, 0
    while not done.is_set() or pieces < 5:
        statement = "SUBSCRIBE TO sums WITH SNAPSHOT" if reached is None else f"SUBSCRIBE TO sums AS OF VERSION {reached}"
        seen = []
        with server.connect(autocommit=True) as subscriber, subscriber.cursor() as cursor:
            # Cut off after a number of rows that has nothing to do with versions.
            for row in cursor.stream(statement):
                seen.append(row)
                if len(seen) >= 23 + pieces:
                    break
            subscriber.pgconn.finish()
        reached = applied(state, seen) or reached
        pieces += 1
    writer.join()
    with server.connect(autocommit=True) as subscriber, subscriber.cursor() as cursor:
        seen = []
        for row in cursor.stream(f"SUBSCRIBE TO sums AS OF VERSION {reached}"):
            seen.append(row)
            # Only its own silence tells that no more changes come: two versions in a row without one.
            if [r[0] for r in seen[-2:]] == ["progress", "progress"]:
                break
        subscriber.pgconn.finish()
    applied(state, seen)
    expected = connection.execute("SELECT grp, n, total FROM sums").fetchall()
    assert state == {tuple(row): 1 for row in expected}


def events(server, path, headers=()):
    """Server-sent events: kind, id, data. Ends with the connection."""
    request = urllib.request.Request(server.url(path), headers=dict(headers))
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        event = {}
        for line in answer:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                event[name] = value
            elif event:
                yield event.get("event"), event.get("id"), json.loads(event["data"])
                event = {}


def test_changes_come_as_events_and_go_on_after_a_cut(server, connection):
    """As EventSource does it: what came after the last event with an id comes again."""
    connection.execute("DROP TABLE IF EXISTS watched CASCADE")
    connection.execute("CREATE TABLE watched (k BIGINT PRIMARY KEY, v VARCHAR)")
    connection.execute("CREATE MATERIALIZED VIEW lengths AS SELECT length(v) AS l, count(*) AS n FROM watched GROUP BY length(v)")
    connection.execute("INSERT INTO watched VALUES (0, 'x')")
    connection.execute("FLUSH")
    rng = random.Random(5)
    done = threading.Event()

    def write():
        with server.connect(autocommit=True) as writer:
            for _ in range(60):
                if rng.random() < 0.3:
                    writer.execute("DELETE FROM watched WHERE k = %s", (rng.randrange(10),))
                else:
                    writer.execute("INSERT INTO watched VALUES (%s, %s)", (rng.randrange(10), "x" * rng.randrange(4)))
            writer.execute("FLUSH")
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    state, last, cuts, wanted = {}, None, 0, None
    while wanted is None or state != wanted:
        if done.is_set():
            rows = connection.execute("SELECT l, n FROM lengths").fetchall()
            wanted = {(None if l is None else str(l), str(n)): 1 for l, n in rows}
        seen = []
        for kind, number, data in events(server, "/api/v1/tables/lengths/changes?snapshot=true", {"last-event-id": last} if last else {}):
            assert number == (str(data["version"]) if kind == "progress" else None)
            seen.append((kind, data["version"], *data.get("row", {}).values()))
            if len(seen) >= 3 + cuts % 7:
                break
        reached = applied(state, seen)
        last = last if reached is None else str(reached)
        cuts += 1
        assert cuts < 500, (state, wanted)
    writer.join(PATIENCE)
    assert cuts > 3
    for path, headers, status in [
        ("nothing/changes", {}, 404),
        ("lengths/changes?version=1000000000", {}, 400),
        ("lengths/changes?snapshot=maybe", {}, 400),
        ("lengths/changes", {"last-event-id": "x"}, 400),
    ]:
        with pytest.raises(urllib.error.HTTPError) as refusal:
            next(events(server, f"/api/v1/tables/{path}", headers))
        assert refusal.value.code == status, path
