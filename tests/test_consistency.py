"""Readers that compare layers in one query, while the run goes on, never see a difference."""

import flights
from frazil import Warehouse, wait_until

COMPARE = """
SELECT (SELECT SUM(scheduled) FROM hourly_departures),
       (SELECT COUNT(*) FROM flights_clean),
       (SELECT SUM(departed) FROM hourly_departures),
       (SELECT COUNT(*) FROM flights_clean WHERE NOT cancelled)
"""


def test_layers_agree_at_every_moment(tmp_path, request):
    reads = request.config.getoption("--reads")
    paced = flights.Paced(tmp_path)
    warehouse = Warehouse(tmp_path / "warehouse")
    with warehouse.run(paced.sql, commit_interval="50ms") as job:
        wait_until(lambda: (warehouse.path / "catalog.db").exists(), "the warehouse exists")
        wait_until(lambda: ["worst_routes"] in [row[:1] for row in warehouse.query("SHOW VIEWS")], "the views exist")
        # A query takes some tens of milliseconds, most of them for starting a process: the run lasts about as long as the
        # reads, and on a fast machine the reads go on until all files have come.
        feeder = paced.feed(reads * 0.05)
        seen = set()
        done = 0
        while done < reads or feeder.is_alive():
            done += 1
            (row,) = warehouse.query(COMPARE)
            counted, rows, departed, not_cancelled = (int(value or 0) for value in row)
            assert (counted, departed) == (rows, not_cancelled)
            seen.add(rows)
            assert job.process.poll() is None, job.errors()
        feeder.join()
        job.stop()
    assert len(seen) >= min(10, reads // 4), f"the reads met only {len(seen)} states: they compared nothing"
