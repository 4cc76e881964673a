"""What a server's settings do: limits of memory and time, the configuration file, encryption."""

import subprocess
import threading

import psycopg
import pytest

from certificates import certificate
from frazil import PATIENCE, binary
from server import Server

TOO_MUCH = "SELECT count(*) FROM generate_series(1, 4000000) AS a(x) JOIN generate_series(1, 4000000) AS b(y) ON a.x = b.y"
TOO_LONG = "SELECT count(*) FROM generate_series(1, 100000) AS a(x), generate_series(1, 100000) AS b(y) WHERE a.x + b.y = 3"


def test_a_query_that_needs_too_much_memory_fails_alone(tmp_path):
    server = Server(tmp_path, "--query-memory", "48MB")
    with server.connect(autocommit=True) as greedy, server.connect(autocommit=True) as modest:
        modest.execute("CREATE TABLE t (k BIGINT PRIMARY KEY)")
        modest.execute("CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM t")
        stop, failures = threading.Event(), []

        def work():
            for k in range(1_000_000):
                if stop.is_set():
                    return
                try:
                    modest.execute("INSERT INTO t VALUES (%s)", (k,))
                except psycopg.Error as error:
                    failures.append(error)

        worker = threading.Thread(target=work)
        worker.start()
        with pytest.raises(psycopg.errors.OutOfMemory) as error:
            greedy.execute(TOO_MUCH)
        assert "--query-memory" in error.value.diag.message_hint
        # What can spill does: a sort of more than fits.
        query = "SELECT count(*), max(r) FROM (SELECT value, row_number() OVER (ORDER BY value % 1000, value) AS r FROM generate_series(1, 1000000))"
        assert greedy.execute(query).fetchone() == (1_000_000, 1_000_000)
        stop.set()
        worker.join()
        assert not failures
        modest.execute("FLUSH")
        assert modest.execute("SELECT n FROM n").fetchone() == modest.execute("SELECT count(*) FROM t").fetchone()
    assert server.stop() == 0


def test_a_statement_has_a_time_limit_if_one_is_set(server):
    with server.connect(autocommit=True) as connection:
        connection.execute("SET statement_timeout = '300ms'")
        with pytest.raises(psycopg.errors.QueryCanceled) as error:
            connection.execute(TOO_LONG)
        assert "statement_timeout" in error.value.diag.message_primary
        assert connection.execute("SHOW statement_timeout").fetchone() == ("300ms",)
        connection.execute("RESET statement_timeout")
        assert connection.execute("SELECT count(*) FROM generate_series(1, 1000)").fetchone() == (1000,)
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            connection.execute("SET statement_timeout = 'soon'")
        # Of this connection alone.
        connection.execute("SET statement_timeout = 1")
        with server.connect(autocommit=True) as other:
            assert other.execute("SELECT count(*) FROM generate_series(1, 100000)").fetchone() == (100_000,)


def test_a_configuration_file_holds_settings_and_options_go_before_it(tmp_path):
    config = tmp_path / "frazil.toml"
    config.write_text("statement-timeout = '200ms'\nquery_memory = '64MB'\nparallelism = 3\n")
    server = Server(tmp_path, "--config", str(config), "--parallelism", "1")
    with server.connect(autocommit=True) as connection:
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute(TOO_LONG)
    assert server.stop() == 0
    command = [binary(), "server", "--config", str(config), "--parallelism", "1", "--print-config"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    assert 'query-memory = "64MB"' in printed and 'parallelism = "1"' in printed and "FRAZIL_HTTP" in printed
    config.write_text("querymemory = '64MB'\n")
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and "did you mean query-memory?" in done.stderr


def test_connections_are_encrypted_by_a_certificate(tmp_path):
    crt, key = certificate(tmp_path)
    server = Server(tmp_path, "--tls-cert", str(crt), "--tls-key", str(key))
    with server.connect(sslmode="verify-full", sslrootcert=str(crt), autocommit=True) as connection:
        assert connection.pgconn.ssl_in_use
        assert connection.execute("SELECT repeat('x', 100000)").fetchone() == ("x" * 100_000,)
    with server.connect(sslmode="disable") as connection:
        assert not connection.pgconn.ssl_in_use
    assert server.stop() == 0
    command = [binary(), "server", "-w", str(tmp_path / "w"), "--pg", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    done = subprocess.run([*command, "--tls-cert", str(key), "--tls-key", str(key)], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and "server.key" in done.stderr, done.stderr
