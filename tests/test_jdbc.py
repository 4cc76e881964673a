"""The JDBC driver of PostgreSQL: tests/jdbc/DriverTest.java, compiled and run against a server."""

import os
import pathlib
import subprocess

from frazil import PATIENCE, ROOT

SOURCES = ROOT / "tests" / "jdbc"


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=5 * PATIENCE)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    return done.stdout


def test_jdbc(server, tmp_path):
    fetch = ["mvn", "--batch-mode", "--quiet", "-f", str(SOURCES / "pom.xml"), "dependency:copy-dependencies"]
    run(*fetch, f"-DoutputDirectory={tmp_path / 'lib'}", "-DincludeScope=compile")
    path = os.pathsep.join(str(jar) for jar in [*pathlib.Path(tmp_path / "lib").glob("*.jar"), tmp_path])
    run("javac", "-cp", path, "-d", str(tmp_path), str(SOURCES / "DriverTest.java"))
    url = f"jdbc:postgresql://127.0.0.1:{server.port}/frazil"
    assert run("java", "-ea", "-cp", path, "DriverTest", url).splitlines()[-1] == "ok"
