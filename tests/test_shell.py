"""The shell on a terminal, alike with an engine of its own and with a server."""

import re
import signal
import time

import pytest

from terminal import Shell

READINGS = """
CREATE TABLE IF NOT EXISTS readings (sensor VARCHAR PRIMARY KEY, celsius DOUBLE);
CREATE MATERIALIZED VIEW IF NOT EXISTS warm AS SELECT sensor, celsius FROM readings WHERE celsius > 20;
INSERT INTO readings VALUES ('attic', 25.5), ('cellar', 12.0);
FLUSH;
"""

ENDLESS = "SELECT count(*) FROM generate_series(1, 300000) a, generate_series(1, 300000) b WHERE a.value * b.value = -1;"


@pytest.fixture(scope="module", params=["embedded", "server"])
def place(request, server, tmp_path_factory):
    """The arguments of a shell with some tables, and a directory."""
    directory = tmp_path_factory.mktemp(request.param)
    arguments = ["--server", server.url()] if request.param == "server" else ["-w", directory / "warehouse"]
    (directory / "readings.sql").write_text(READINGS)
    shell = Shell(*arguments, history=directory / "history")
    shown = shell.enter(f"\\i {directory / 'readings.sql'}")
    assert "CREATE MATERIALIZED VIEW" in shown and "INSERT 0 2" in shown and "error" not in shown, shown
    assert shell.end() == 0
    return arguments, directory


@pytest.fixture
def shell(place, request):
    arguments, directory = place
    environment = getattr(request, "param", {})
    environment = {name: value.format(directory) for name, value in environment.items()}
    shell = Shell(*arguments, history=directory / "history", **environment)
    yield shell
    assert shell.end() == 0
    shell.kill()


def test_tab_completes(shell):
    # Keywords, columns of a table that is named behind the cursor, tables.
    shown = shell.enter("sel\tsum(cel\t) AS total fr\treadi\t;")
    assert re.search(r"total *\n-+\n *37.5", shown), shown
    # What is behind the cursor decides, too.
    shell.type("SELECT w. FROM warm w;")
    shell.until("warm w;")
    shown = shell.enter("\x1b[D" * len(" FROM warm w;") + "cel\t")
    assert re.search(r"celsius *\n-+\n *25.5", shown), shown
    # A menu does not take the enter key from a statement that was typed to its end, and neither does none.
    assert "(2 rows)" in shell.enter("SELECT s\tensor FROM readings;")
    assert "(1 row)" in shell.enter("SELECT 1 AS zzz\t;")
    assert "VARCHAR" in shell.enter("DESCRIBE war\t;")
    assert "commit_interval" in shell.enter("SHOW comm\t;")
    assert "(1 row)" in shell.enter("VER\twar\t;")
    assert "timing is off" in shell.enter("\\timi\tof\t")


def test_several_completions_are_a_menu(shell):
    shell.type("SELECT s FROM readings WHERE s\t")
    # Without colours this is how the selected one looks.
    shell.until(">SENSOR")
    shell.until("substring(")
    shell.type("\x03")
    shell.prompt()
    assert "(1 row)" in shell.enter("SELECT 1;")


def test_new_names_are_completed(shell, place):
    shell.enter("CREATE TABLE brand_new_table (brand_new_column BIGINT);")
    assert "brand_new_column" in shell.enter("SELECT * FROM brand_\t;")
    shell.enter("DROP TABLE brand_\t;")
    assert "brand_new" not in shell.enter("\\d")


def test_commands_describe_what_there_is(shell):
    shown = shell.enter("\\d")
    assert re.search(r"readings +\| table +\| sensor", shown) and re.search(r"warm +\| materialized view", shown), shown
    shown = shell.enter("\\d warm")
    assert re.search(r"celsius +\| DOUBLE PRECISION +\| YES", shown), shown
    assert "materialized view warm" in shown and "\nFROM readings\nWHERE celsius > 20" in shown, shown
    assert "CREATE TABLE" not in shell.enter("\\d readings")
    assert "CREATE TABLE readings" in shell.enter("\\d+ readings")
    shown = shell.enter("\\dt READ*")
    assert "readings" in shown and "warm" not in shown and "(1 row)" in shown
    assert "warm" in shell.enter("\\dv ?arm") and "(0 rows)" in shell.enter("\\dv nothing*")
    assert "warm" in shell.enter("\\dj warm") and "returns" in shell.enter("\\df")
    assert "error: " in shell.enter("\\d nothing") and "error: " in shell.enter("\\d a; DROP TABLE readings")
    assert "did you mean \\watch?" in shell.enter("\\wacth")
    assert "\\timing" in shell.enter("\\?")


def test_output_is_shown_as_it_is_wanted(shell, place):
    _, directory = place
    assert "vertical output is on" in shell.enter("\\x")
    assert re.search(r"-\[ row 1 \]-+\nsensor +\| attic\ncelsius \| 25.5\n", shell.enter("SELECT * FROM warm;"))
    shell.enter("\\x off")
    assert "sensor  | attic" in shell.enter("SELECT * FROM warm \\gx")
    assert re.search(r" attic +\| +25.5\n", shell.enter("\\g"))
    shell.enter("\\pset format csv")
    assert "sensor,celsius\nattic,25.5\n" in shell.enter("\\g")
    assert "Time: " in shell.enter("\\g") and shell.enter("\\timing off") and "Time: " not in shell.enter("\\g")
    shell.enter(f"\\o {directory / 'results.csv'}")
    assert "attic" not in shell.enter("SELECT * FROM warm;")
    shell.enter("\\o")
    assert (directory / "results.csv").read_text() == "sensor,celsius\nattic,25.5\n"
    assert "attic" in shell.enter("\\g")


def test_files_are_executed(shell, place):
    _, directory = place
    (directory / "further").mkdir(exist_ok=True)
    (directory / "further" / "data.csv").write_text("1\n2\n")
    (directory / "further" / "file.sql").write_text(
        "SET commit_interval = '123ms'; DROP TABLE IF EXISTS further;\n"
        "CREATE TABLE further (n BIGINT) WITH (connector = 'filesystem', path = 'data.csv', format = 'csv');\n"
        "SELECT sum(n) AS the_sum FROM further; SELECT nothing FROM further; SELECT 77;"
    )
    shown = shell.enter(f"\\i {directory}/further/fi\t")
    assert re.search(r"the_sum\n-+\n +3\n", shown), shown
    assert "error: " in shown and "3 | SELECT sum(n) AS the_sum FROM further; SELECT nothing" in shown and shown.count("(1 row)") == 1
    assert "123ms" in shell.enter("SHOW commit_interval;")
    assert "cannot read" in shell.enter("\\i nothing.sql")


@pytest.mark.parametrize("shell", [{"EDITOR": "sed -i s/1/4711/"}], indirect=True)
def test_the_last_statement_can_be_edited(shell):
    shell.enter("SELECT 1;")
    shell.type("\\e\r")
    shell.until("SELECT 4711;")
    shown = shell.prompt()
    assert "(1 row)" in shown, shown
    assert "4711" in shell.enter("\\g")


@pytest.mark.parametrize("shell", [{"FRAZIL_PAGER": "cat > {}/paged"}], indirect=True)
def test_what_does_not_fit_is_paged(shell, place):
    paged = place[1] / "paged"
    assert "attic" in shell.enter("SELECT * FROM warm;") and not paged.exists()
    shown = shell.enter("SELECT value FROM generate_series(1, 5000);")
    assert "(5000 rows)" not in shown and "Time: " in shown
    assert paged.read_text().startswith(" value\n") and paged.read_text().endswith(" 5000\n(5000 rows)\n")
    shell.enter("SELECT repeat('wide', 50) AS w;")
    assert "widewide" in paged.read_text()
    paged.unlink()
    assert "pager is off" in shell.enter("\\pset pager off")
    assert "(5000 rows)" in shell.enter("SELECT value FROM generate_series(1, 5000);") and not paged.exists()


@pytest.mark.parametrize("shell", [{"FRAZIL_PAGER": "head -n 3"}], indirect=True)
def test_a_pager_that_is_left_ends_the_query(shell):
    start = time.monotonic()
    shown = shell.enter("SELECT a.value FROM generate_series(1, 300000) a, generate_series(1, 300000) b;")
    assert " value" in shown and "rror" not in shown and "interrupted" not in shown, shown
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("shell", [{"FRAZIL_PAGER": "head -n 3"}], indirect=True)
def test_a_result_without_end_is_paged_if_it_does_not_fit(shell):
    shell.enter("CREATE TABLE IF NOT EXISTS many (n BIGINT);")
    shell.enter("INSERT INTO many SELECT value FROM generate_series(1, 200);")
    shown = shell.enter("SUBSCRIBE TO many WITH SNAPSHOT;")
    assert "insert" in shown and "rror" not in shown and "interrupted" not in shown, shown


@pytest.mark.parametrize("shell", [{"FRAZIL_PAGER": "no-such-pager"}], indirect=True)
def test_a_pager_that_does_not_exist_is_an_error(shell):
    shown = shell.enter("SELECT value FROM generate_series(1, 5000);")
    assert "no-such-pager cannot be executed" in shown and "hint: set FRAZIL_PAGER" in shown
    assert "attic" in shell.enter("SELECT * FROM warm;")


def test_a_statement_is_repeated_until_it_is_interrupted(shell):
    shell.type("SELECT sensor FROM warm \\watch 0.2\r")
    for _ in range(3):
        shell.until("(every 200ms, Ctrl-C ends it)")
        shell.until("attic")
    shell.type("\x03")
    shell.prompt()
    assert "(1 row)" in shell.enter("SELECT 1;")
    assert "above 0" in shell.enter("SELECT 1 \\watch soon")


def test_changes_are_shown_as_they_come(shell):
    shell.type("SUBSCRIBE TO readings WITH SNAPSHOT;\r")
    shell.until("cellar")
    shell.until("progress")
    shell.until("progress")
    shell.type("\x03")
    shell.prompt()
    assert "(1 row)" in shell.enter("SELECT 1;")


def test_a_long_statement_shows_that_it_works_and_can_be_interrupted(shell):
    shell.type(ENDLESS + "\r")
    for seconds in (1, 2):
        shell.until(f" {seconds} s")
    shell.type("\x03")
    shown = shell.prompt()
    assert "\r\x1b[2Kinterrupted" in shown or shown.endswith("interrupted\n"), shown
    assert "(1 row)" in shell.enter("SELECT 1;")


def test_signals_from_outside(place):
    arguments, directory = place
    shell = Shell(*arguments, history=directory / "history")
    # An interrupt is about statements: between them it is about nothing.
    shell.process.send_signal(signal.SIGINT)
    # On a busy machine a signal may take a while.
    time.sleep(1)
    assert "(1 row)" in shell.enter("SELECT 1;")
    shell.process.send_signal(signal.SIGTERM)
    assert shell.wait() == 130

    shell = Shell(*arguments, history=directory / "history")
    shell.type(ENDLESS + "\r")
    shell.until(" 1 s")
    shell.process.send_signal(signal.SIGTERM)
    assert shell.wait() == 130
