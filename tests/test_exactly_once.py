"""Jobs that are killed again and again, and resumed with another number of tasks, end with the tables of undisturbed ones."""

import random
import time

import pytest

import flights
from frazil import ROOT, Warehouse, difference, wait_until

# From shortly after the start, when state is being restored, to well into the work.
LIFE = (0.1, 2.5)
PARALLELISM = (1, 2, 3)

NEXMARK_EVENTS = 60_000
NEXMARK_TABLES = {
    "person": "id BIGINT, name VARCHAR, email_address VARCHAR, credit_card VARCHAR, city VARCHAR, state VARCHAR, date_time TIMESTAMP(3), extra VARCHAR",
    "auction": "id BIGINT, item_name VARCHAR, description VARCHAR, initial_bid BIGINT, reserve BIGINT, date_time TIMESTAMP(3), expires TIMESTAMP(3), seller BIGINT, category BIGINT, extra VARCHAR",
    "bid": "auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP(3), extra VARCHAR",
}


def kill_again_and_again(warehouse, sql, view, kills, rng):
    """Kills a job at random moments. Returns how many of the kills met a job that was still running, and how many rows its view had after each."""
    met, rows = 0, []
    for turn in range(kills):
        with warehouse.run(sql, parallelism=PARALLELISM[turn % 3]) as job:
            time.sleep(rng.uniform(*LIFE))
            met += job.kill()
        exists = view in (row[0] for row in warehouse.query("SHOW VIEWS"))
        rows.append(int(warehouse.query(f"SELECT COUNT(*) FROM {view}")[0][0]) if exists else 0)
    return met, rows


def test_flights(tmp_path, oracle, request):
    kills = request.config.getoption("--kills")
    rng = random.Random(request.config.getoption("--seed"))
    paced = flights.Paced(tmp_path)
    warehouse = Warehouse(tmp_path / "warehouse")
    feeder = paced.feed(kills * sum(LIFE) / 2)
    met, rows = kill_again_and_again(warehouse, paced.sql, "flights_clean", kills, rng)
    assert met == kills, "a job that follows new files must not end by itself"
    assert rows == sorted(rows), f"rows that were committed are gone: {rows}"
    assert any(0 < count < 27004 for count in rows), f"no kill came in the middle: {rows}"
    with warehouse.run(paced.sql, parallelism=PARALLELISM[kills % 3]) as job:
        feeder.join()

        def complete():
            assert job.process.poll() is None, job.errors()
            return all(not difference(warehouse.table(name, types), rows) for name, (types, rows) in oracle.items())

        try:
            wait_until(complete, "all rows have arrived")
        except AssertionError:
            pass  # What is wrong is said below.
        job.stop()
    for name, (types, wanted) in oracle.items():
        assert difference(warehouse.table(name, types), wanted) == "", name


def nexmark_sql(query, pace):
    """The query over tables that go at this pace (in events per second of the wall clock), or as fast as they can."""
    paced = f", 'events-per-second' = '{pace}'" if pace else ""
    tables = "".join(
        f"CREATE TABLE {name} ({columns}) WITH ('connector' = 'nexmark', 'table' = '{name}', 'events.num' = '{NEXMARK_EVENTS}', 'event.rate' = '1000'{paced});\n"
        for name, columns in NEXMARK_TABLES.items()
    )
    select = (ROOT / "benches" / "nexmark" / f"{query}.sql").read_text()
    return f"{tables}CREATE MATERIALIZED VIEW {query} AS\n{select};\n"


@pytest.mark.parametrize("query", ["q3", "q4", "q7"])
def test_nexmark(tmp_path, query, request):
    kills = request.config.getoption("--kills")
    rng = random.Random(f"{query} {request.config.getoption('--seed')}")
    undisturbed, killed = (Warehouse(tmp_path / name / "warehouse") for name in ("undisturbed", "killed"))
    for warehouse, pace in ((undisturbed, None), (killed, round(NEXMARK_EVENTS / (kills * sum(LIFE) / 2)))):
        warehouse.path.parent.mkdir()
        (warehouse.path.parent / "job.sql").write_text(nexmark_sql(query, pace))
    undisturbed.run_to_end(undisturbed.path.parent / "job.sql")
    sql = killed.path.parent / "job.sql"
    met, rows = kill_again_and_again(killed, sql, query, kills, rng)
    killed.run_to_end(sql, parallelism=PARALLELISM[kills % 3])
    wanted, found = (sorted(map(repr, w.query(f"SELECT * FROM {query}"))) for w in (undisturbed, killed))
    assert wanted, "an empty result tests nothing"
    assert found == wanted
    assert met > kills // 2, "most kills came after the end: they tested nothing"
    assert any(rows), f"no kill came after a checkpoint: {rows}"
