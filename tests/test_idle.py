"""A job without work rests, and one that works on does not fill the disk with files."""

import os
import time

import pytest

import flights
from frazil import Warehouse, wait_until

# A file goes when no version names it any more: a segment is tiered within one minute, its changelog kept for another, the
# versions that know it for five; and a sweep comes once a minute.
HORIZON = 520
SHORTEST_SOAK = HORIZON + 180

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(process):
    """CPU time of a process so far."""
    fields = open(f"/proc/{process}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def test_an_idle_job_uses_next_to_no_cpu(tmp_path):
    paced = flights.Paced(tmp_path)
    warehouse = Warehouse(tmp_path / "warehouse")
    paced.feed(0).join()
    with warehouse.run(paced.sql) as job:
        count = "SELECT SUM(scheduled) FROM hourly_departures"
        wait_until(lambda: (warehouse.path / "catalog.db").exists(), "the warehouse exists")
        wait_until(lambda: ["worst_routes"] in [row[:1] for row in warehouse.query("SHOW VIEWS")], "the views exist")
        wait_until(lambda: warehouse.query(count) == [["27004"]], "all rows have arrived")
        time.sleep(3)
        before = cpu_seconds(job.process.pid)
        time.sleep(5)
        used = cpu_seconds(job.process.pid) - before
        job.stop()
    assert used < 0.25, f"{used} s of CPU in 5 s without work"


def test_the_number_of_files_is_bounded(tmp_path, request):
    seconds = request.config.getoption("--soak")
    if seconds < SHORTEST_SOAK:
        pytest.skip(f"files are kept for {HORIZON} s: needs --soak {SHORTEST_SOAK} or more")
    (tmp_path / "job.sql").write_text(
        """
        CREATE TABLE g (n BIGINT, k BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '2000',
            'fields.n.kind' = 'sequence', 'fields.k.min' = '0', 'fields.k.max' = '100');
        CREATE MATERIALIZED VIEW sums AS SELECT k, COUNT(*) AS n, MAX(n) AS last FROM g GROUP BY k;
        CREATE MATERIALIZED VIEW every AS SELECT * FROM g;
        """
    )
    warehouse = Warehouse(tmp_path / "warehouse")
    files = lambda: sum(len(names) for _, _, names in os.walk(warehouse.path))
    with warehouse.run(tmp_path / "job.sql", commit_interval="1s") as job:
        time.sleep(HORIZON)
        at_horizon = files()
        most = 0
        for _ in range(int((seconds - HORIZON) / 5)):
            time.sleep(5)
            assert job.process.poll() is None, job.errors()
            most = max(most, files())
        job.stop()
    # Two files per second come; if none went, there would be about as many again for every horizon that passes.
    assert most < 1.15 * at_horizon, f"{at_horizon} files after {HORIZON} s, and up to {most} later"
