"""`frazil sql --server` and `frazil submit`: a server instead of a warehouse, and nobody sees a difference."""

import signal
import subprocess
import time

import pytest

from frazil import PATIENCE, binary, wait_until
from http_api import Api
from terminal import Shell

MEASURES = """
CREATE TABLE IF NOT EXISTS measures (k BIGINT PRIMARY KEY, b BOOLEAN, n DECIMAL(20, 4), f DOUBLE, s VARCHAR, d DATE, ts TIMESTAMP, l BIGINT[]);
INSERT INTO measures VALUES (1, TRUE, 1.5, 0.1, 'it''s "é", x', DATE '2024-02-29', TIMESTAMP '2024-01-01 10:00:00.5', ARRAY[1, NULL]);
INSERT INTO measures (k) VALUES (2)
"""

SCRIPTS = [
    "SELECT * FROM measures ORDER BY k",
    "SELECT k FROM measures WHERE FALSE",
    "SELECT a.value + b.value AS n FROM generate_series(1, 120) a, generate_series(1, 120) b ORDER BY 1",
    "SHOW TABLES; SHOW JOBS; DESCRIBE measures; EXPLAIN INCREMENTAL SELECT s, count(*) FROM measures GROUP BY s",
    "SET commit_interval = '321ms'; SHOW commit_interval; SET comit_interval = '1s'; RESET commit_interval",
    "SELECT 1;\nSELECT 2;  SELECT\n  nothing FROM measures",
    "SELECT 1;\n  SELECT * FROM measurs; SELECT 3",
    "SELECT 1; SELEC 2",
    "CREATE TABLE measures (k BIGINT)",
    "CREATE TABLE bad (k BIGINT) WITH (connector = 'filesystem', path = 'x.csv', format = 'cvs')",
    "SET commit_interval = 'soon'",
    "BEGIN",
    "",
]


@pytest.fixture(scope="module")
def api(server):
    return Api(server)


def frazil(*arguments, stdin=None, cwd=None):
    done = subprocess.run([binary(), *map(str, arguments)], input=stdin, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def both(server, tmp_path_factory):
    """Runs `frazil sql` here and there."""
    warehouse = tmp_path_factory.mktemp("embedded") / "warehouse"
    here = lambda *arguments, **more: frazil("sql", "-w", warehouse, *arguments, **more)
    there = lambda *arguments, **more: frazil("sql", "--server", server.url(), *arguments, **more)
    for run in (here, there):
        code, _, errors = run("-c", MEASURES)
        assert code == 0, errors
    return here, there


@pytest.mark.parametrize("output", ["table", "csv", "json"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_it_prints_the_same_as_an_embedded_engine(both, script, output):
    here, there = (run("--format", output, "-c", script) for run in both)
    if "SHOW JOBS" not in script:
        assert there == here
    else:
        # The server has tables of other tests.
        assert there[0] == here[0] == 0 and there[2] == here[2]
        assert there[1].splitlines()[-8:] == here[1].splitlines()[-8:]


def test_files_and_standard_input_are_read_too(both, tmp_path):
    (tmp_path / "data.csv").write_text("1\n2\n")
    file = tmp_path / "file.sql"
    for number, run in enumerate(both):
        table = f"from_file_{number}"
        file.write_text(
            f"CREATE TABLE {table} (n BIGINT) WITH (connector = 'filesystem', path = 'data.csv', format = 'csv');\nSELECT sum(n) AS s FROM {table};"
        )
        assert run("-f", file, "--format", "csv") == (0, "s\n3\n", "")
        assert run("--format", "csv", stdin=f"SELECT max(n) AS m FROM {table}") == (0, "m\n2\n", "")


def test_an_error_after_the_first_rows_is_told(both):
    script = "SELECT 1 / (2000 - a.value - b.value) AS x FROM generate_series(1, 1000) a, generate_series(1, 1000) b"
    here, there = (run("--format", "csv", "-c", script) for run in both)
    assert (there[0], there[2]) == (here[0], here[2])
    assert there[0] == 1 and "ivide by zero" in there[2] and there[1].startswith("x\n0\n")


def test_a_server_that_is_not_there_is_an_error(both):
    code, output, errors = frazil("sql", "--server", "http://127.0.0.1:9", "-c", "SELECT 1")
    assert (code, output) == (1, "") and "no server can be reached at http://127.0.0.1:9" in errors and "hint" in errors
    code, _, errors = frazil("sql", "--server", "nonsense", "-c", "SELECT 1")
    assert code == 1 and "not the URL of a server" in errors


def test_something_else_that_answers_is_no_server(server):
    code, _, errors = frazil("sql", "--server", server.url("/elsewhere"), "-c", "SELECT 1")
    assert code == 1 and "nothing at /elsewhere/api/v1/statements" in errors


def test_an_interrupt_ends_the_statement_on_the_server(server, api):
    endless = "SELECT count(*) FROM generate_series(1, 30000) a, generate_series(1, 30000) b WHERE a.value * b.value = -1"
    used = lambda: api.get("/api/v1/overview")["cpu_seconds"]
    before = used()
    process = subprocess.Popen([binary(), "sql", "--server", server.url(), "-c", endless], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: used() - before > 1, "the query computes")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (130, b"interrupted\n")

    def idle():
        start = used()
        time.sleep(1)
        return used() - start < 0.5

    wait_until(idle, "the query has ended")


def test_the_shell_talks_to_a_server(server, api, tmp_path):
    shell = Shell("--server", server.url(), history=tmp_path / "history")
    assert f"server {server.url()}" in shell.shown.decode()
    assert "CREATE TABLE\n" in shell.enter("CREATE TABLE typed (k BIGINT);")
    assert "INSERT 0 2" in shell.enter("INSERT INTO typed VALUES (41), (1);")
    shown = shell.enter("SELECT sum(k) AS the_sum FROM typed;")
    assert "the_sum" in shown and "(1 row)" in shown
    assert "error: " in shell.enter("SELECT nowhere;")
    assert shell.end() == 0
    assert api.rows("SELECT sum(k) FROM typed") == [["42"]]


def test_a_file_is_submitted(server, api, tmp_path):
    (tmp_path / "in.csv").write_text("1,a\n2,b\n")
    file = tmp_path / "job.sql"
    file.write_text(
        """
        CREATE TABLE letters (k BIGINT, s VARCHAR) WITH (connector = 'filesystem', path = 'in.csv', format = 'csv');
        CREATE TABLE kept_letters (k BIGINT, s VARCHAR);
        INSERT INTO kept_letters SELECT k, s FROM letters;
        CREATE MATERIALIZED VIEW letter_count AS SELECT count(*) AS n FROM kept_letters;
        """
    )
    submit = lambda: frazil("submit", "job.sql", "--server", server.url(), cwd=tmp_path)
    assert submit() == (0, "insert_into_kept_letters_1\nletter_count\n", "")
    api.wait_for_rows("SELECT n FROM letter_count", [["2"]])
    assert submit()[0] == 0
    file.write_text("CREATE TABLE letters (k BIGINT);\n  CREATE TABEL x (k BIGINT)")
    code, output, errors = submit()
    assert (code, output) == (1, "") and "2 |   CREATE TABEL x" in errors
    code, _, errors = frazil("submit", tmp_path / "nothing.sql", "--server", server.url())
    assert code == 1 and "nothing.sql" in errors
