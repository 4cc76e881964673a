"""Runs the frazil binary: jobs, queries, kills."""

import csv
import datetime
import decimal
import io
import os
import pathlib
import signal
import sqlite3
import subprocess
import time
from collections import Counter

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATIENCE = 120


def binary():
    if "FRAZIL" in os.environ:
        return os.environ["FRAZIL"]
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return str(target / "debug" / "frazil")


class Job:
    """A running `frazil run`."""

    def __init__(self, sql_file, warehouse, parallelism=2, commit_interval="200ms", more=()):
        command = [binary(), "run", str(sql_file), "-w", str(warehouse), *more]
        command += ["--parallelism", str(parallelism), "--commit-interval", commit_interval]
        self.log = open(warehouse.parent / "run.log", "ab")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def kill(self):
        """SIGKILL: nothing can be said or saved any more. Returns False if the job had ended by itself before."""
        self.process.kill()
        code = self.process.wait(PATIENCE)
        self.log.close()
        assert code in (0, -signal.SIGKILL), f"ended with {code}:\n{self.errors()}"
        return code != 0

    def stop(self):
        """SIGTERM: a last checkpoint, then exit 0."""
        self.process.terminate()
        self.end()

    def end(self):
        code = self.process.wait(PATIENCE)
        self.log.close()
        assert code == 0, f"ended with {code}:\n{self.errors()}"

    def errors(self):
        return pathlib.Path(self.log.name).read_text()[-4000:]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Warehouse:
    """A warehouse directory and the ways into it; `more`: further options of every command."""

    def __init__(self, path, *more):
        self.path = pathlib.Path(path)
        self.more = more

    def run(self, sql_file, **options):
        return Job(sql_file, self.path, more=self.more, **options)

    def run_to_end(self, sql_file, **options):
        with self.run(sql_file, **options) as job:
            job.end()

    def query(self, sql):
        """Rows as text, None for NULL, without the header."""
        command = [binary(), "sql", "-w", str(self.path), *self.more, "--format", "csv", "-c", sql]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, f"{sql}:\n{done.stderr}"
        rows = list(csv.reader(io.StringIO(done.stdout)))
        return [[None if value == "" else value for value in row] for row in rows[1:]]

    def table(self, name, types):
        """All rows of a table as a bag of Python values; `types` are DuckDB's names of the columns' types."""
        return Counter(tuple(map(typed, row, types)) for row in self.query(f"SELECT * FROM {name}"))

    def metadata_location(self, name):
        """Where the Iceberg metadata of a table is, as any client of a SQL catalog would find it."""
        with sqlite3.connect(f"file:{self.path / 'catalog.db'}?mode=ro", uri=True) as db:
            found = db.execute(
                "SELECT metadata_location FROM iceberg_tables WHERE catalog_name = 'frazil' AND table_namespace = 'default' AND table_name = ?",
                [name],
            ).fetchone()
        assert found, f"{name} is not in iceberg_tables"
        return found[0]


def typed(text, kind):
    """A value of a CSV field."""
    if text is None:
        return None
    if kind == "BOOLEAN":
        return {"true": True, "false": False}[text]
    if kind in ("DOUBLE", "FLOAT"):
        return float(text)
    if kind.startswith("DECIMAL"):
        return decimal.Decimal(text)
    if kind.endswith("INT") or kind == "INTEGER":
        return int(text)
    if kind.startswith("TIMESTAMP"):
        return datetime.datetime.fromisoformat(text)
    return text


def difference(found, wanted):
    """What to say about two bags of rows; empty if they are equal."""
    missing, surplus = wanted - found, found - wanted
    if not missing and not surplus:
        return ""
    sample = lambda bag: "\n".join(f"  {count} x {row}" for row, count in list(bag.items())[:5])
    return (
        f"{sum(found.values())} rows instead of {sum(wanted.values())}\n"
        f"{sum(missing.values())} missing:\n{sample(missing)}\n{sum(surplus.values())} too many:\n{sample(surplus)}"
    )


def wait_until(condition, what, patience=PATIENCE):
    """Polls until the condition gives something true, and returns that."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {patience} s in vain until {what}")
