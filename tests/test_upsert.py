"""A continuous INSERT into a keyed table replaces the rows of its keys, those from before the job too, across kills."""

import time

from frazil import Warehouse

TABLE = "CREATE TABLE latest (k BIGINT PRIMARY KEY, n BIGINT)"
ROWS = 6000


def test_upserts_survive_kills(tmp_path):
    job = tmp_path / "job.sql"
    job.write_text(
        f"""{TABLE};
        CREATE TABLE g (n BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '2000', 'splits' = '1',
            'number-of-rows' = '{ROWS}', 'fields.n.kind' = 'sequence', 'fields.n.start' = '0', 'fields.n.end' = '{ROWS - 1}');
        INSERT INTO latest SELECT n % 10, n FROM g;
        """
    )
    warehouse = Warehouse(tmp_path / "warehouse")
    warehouse.query(f"{TABLE}; INSERT INTO latest VALUES (100, -1), (3, -1); SELECT 1")
    for parallelism in (1, 3):
        with warehouse.run(job, parallelism=parallelism, commit_interval="100ms") as run:
            time.sleep(0.8)
            run.kill()
    warehouse.run_to_end(job, parallelism=2)
    wanted = [[str(k), str(ROWS - 10 + k)] for k in range(10)] + [["100", "-1"]]
    assert warehouse.query("SELECT k, n FROM latest ORDER BY k") == wanted
