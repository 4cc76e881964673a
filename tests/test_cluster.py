"""A coordinator and workers: what they compute, and that nobody notices when one of them dies, stops, leaves or joins."""

import random
import signal
import threading
import time

import psycopg
import pytest

import flights
from cluster import Cluster
from frazil import ROOT, Warehouse, difference
from http_api import Api
from network import Network, available
from prometheus import Scrape
from test_exactly_once import NEXMARK_TABLES

# Rows and keys of a table that is written all the time.
LOAD = """
CREATE TABLE load (k BIGINT, v BIGINT) WITH (
  'connector' = 'datagen', 'rows-per-second' = '5000',
  'fields.k.kind' = 'random', 'fields.k.min' = '0', 'fields.k.max' = '2000',
  'fields.v.kind' = 'sequence', 'fields.v.start' = '1', 'fields.v.end' = '1000000000');
CREATE MATERIALIZED VIEW by_key AS SELECT k, COUNT(*) AS n, SUM(v) AS s FROM load GROUP BY k;
CREATE MATERIALIZED VIEW total AS SELECT SUM(n) AS n, CAST(SUM(s) AS BIGINT) AS s FROM by_key;
"""


def consistent(cluster):
    """Both layers as of one version, and what the sequence numbers say: no row is lost, none is there twice."""
    sql = "SELECT (SELECT SUM(n) FROM by_key), (SELECT SUM(s) FROM by_key), (SELECT n FROM total), (SELECT s FROM total)"
    n, s, total_n, total_s = cluster.rows(sql)[0]
    assert (n, s) == (total_n, total_s), "layers disagree"
    return n or 0


def progresses(cluster):
    before = consistent(cluster)
    cluster.wait(lambda: consistent(cluster) > before, "rows go on to come")


def verified(cluster, *views):
    for view in views:
        result = cluster.rows(f"VERIFY MATERIALIZED VIEW {view}")[0]
        assert result[1] == "equal", (view, result)


def test_flights_on_three_workers(tmp_path, oracle):
    with Cluster(tmp_path) as cluster:
        cluster.submit(flights.SQL)
        cluster.wait_until_finished(*oracle)
    warehouse = Warehouse(tmp_path / "warehouse")
    for name, (types, wanted) in oracle.items():
        assert difference(warehouse.table(name, types), wanted) == "", name


@pytest.mark.parametrize("query", ["q4", "q5", "q7", "q8"])
def test_nexmark_on_three_workers(tmp_path, query):
    tables = "".join(
        f"CREATE TABLE {name} ({columns}, WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND)"
        f" WITH ('connector' = 'nexmark', 'table' = '{name}', 'events.num' = '60000', 'event.rate' = '1000');\n"
        for name, columns in NEXMARK_TABLES.items()
    )
    select = (ROOT / "benches" / "nexmark" / f"{query}.sql").read_text()
    (tmp_path / "job.sql").write_text(f"{tables}CREATE MATERIALIZED VIEW result AS {select};")
    with Cluster(tmp_path) as cluster:
        cluster.submit(tmp_path / "job.sql")
        views = [row[0] for row in cluster.rows("SHOW JOBS")]
        cluster.wait_until_finished(*views)
        assert cluster.rows(f"SELECT COUNT(*) FROM {views[-1]}")[0][0] > 0
        verified(cluster, *views)


def test_a_coordinator_tells_of_its_workers(tmp_path):
    with Cluster(tmp_path, workers=2, slots=3) as cluster:
        api = Api(cluster.leader)
        workers = api.get("/api/v1/workers")["workers"]
        assert [(worker["slots"], worker["state"]) for worker in workers] == [(3, "active"), (3, "active")]
        cluster.wait(lambda: api.get("/api/v1/autoscaler")["workers"] > 0, "a number of workers is recommended")
        scrape = Scrape(cluster.leader)
        assert scrape.value("frazil_workers", state="active") == 2
        assert scrape.value("frazil_worker_slots") == 6
        assert scrape.value("frazil_recommended_workers") == api.get("/api/v1/autoscaler")["workers"]


def test_a_killed_worker_is_replaced_by_the_others_within_a_moment(tmp_path):
    with Cluster(tmp_path) as cluster:
        cluster.execute(LOAD)
        progresses(cluster)
        cluster.workers[1].kill()
        killed = time.monotonic()
        progresses(cluster)
        # Two commits, and much patience with a busy machine. A missing heartbeat alone would take 2 s to notice.
        assert time.monotonic() - killed < 10
        assert len(cluster.rows("SHOW WORKERS")) == 2
        runner, recovery = [(row[3], row[-1]) for row in cluster.rows("SHOW JOBS")][0]
        assert runner == "2 slots on 2 workers"
        assert "restarted on 2 slots" in recovery and "its connection closed" in recovery, recovery
        verified(cluster, "by_key", "total")


def test_a_worker_that_hangs_is_given_up_and_comes_back(tmp_path):
    with Cluster(tmp_path) as cluster:
        cluster.execute(LOAD)
        progresses(cluster)
        cluster.workers[0].signal(signal.SIGSTOP)
        cluster.wait(lambda: len(cluster.rows("SHOW WORKERS")) == 2, "the silent worker is given up")
        progresses(cluster)
        cluster.workers[0].signal(signal.SIGCONT)
        cluster.wait_for_workers(3)
        progresses(cluster)
        verified(cluster, "by_key", "total")


def test_workers_join_and_leave_without_a_gap(tmp_path):
    with Cluster(tmp_path, workers=1) as cluster:
        cluster.execute(LOAD)
        progresses(cluster)
        cluster.add_worker()
        cluster.wait_for_workers(2)
        progresses(cluster)
        # It hands over what it has and ends by itself.
        assert cluster.workers[0].stop() == 0, cluster.logs()
        assert len(cluster.rows("SHOW WORKERS")) == 1
        progresses(cluster)
        verified(cluster, "by_key", "total")


def test_without_workers_jobs_wait_and_new_ones_are_refused(tmp_path):
    with Cluster(tmp_path, workers=0) as cluster:
        cluster.execute("CREATE TABLE t (k BIGINT PRIMARY KEY)")
        with pytest.raises(psycopg.Error, match="no worker has joined(.|\n)*frazil worker --coordinator"):
            cluster.execute("CREATE MATERIALIZED VIEW v AS SELECT COUNT(*) AS n FROM t")
        assert cluster.rows("SELECT * FROM t") == []
        cluster.add_worker()
        cluster.wait_for_workers(1)
        cluster.execute("CREATE MATERIALIZED VIEW v AS SELECT COUNT(*) AS n FROM t; INSERT INTO t VALUES (1), (2); FLUSH")
        assert cluster.rows("SELECT n FROM v") == [(2,)]
        cluster.workers[0].kill()
        cluster.execute("INSERT INTO t VALUES (3)")
        cluster.add_worker()
        cluster.wait(lambda: cluster.rows("SELECT n FROM v") == [(3,)], "the job is back")


def test_a_worker_that_may_not_join_says_why(tmp_path):
    with Cluster(tmp_path, workers=0, options=("--cluster-secret", "known")) as cluster:
        stranger = cluster.add_worker()
        assert stranger.process.wait(30) == 1
        assert "does not know the cluster's secret" in stranger.log()
        assert cluster.rows("SHOW WORKERS") == []


def test_a_standby_takes_over_when_the_leader_dies(tmp_path):
    with Cluster(tmp_path, coordinators=2) as cluster:
        cluster.execute(LOAD + "CREATE TABLE t (k BIGINT PRIMARY KEY); CREATE MATERIALIZED VIEW v AS SELECT COUNT(*) AS n FROM t")
        cluster.execute("INSERT INTO t VALUES (1)")
        progresses(cluster)
        leader = cluster.leader
        standby = next(coordinator for coordinator in cluster.coordinators if coordinator is not leader)
        assert not standby.is_ready()
        leader.kill()
        killed = time.monotonic()
        cluster.wait(standby.is_ready, "the other coordinator leads")
        cluster.wait_for_workers(3)
        progresses(cluster)
        assert time.monotonic() - killed < 10
        cluster.execute("INSERT INTO t VALUES (2); FLUSH")
        assert cluster.rows("SELECT n FROM v") == [(2,)]
        verified(cluster, "by_key", "total", "v")


def test_a_leader_that_hangs_is_deposed_and_harmless_when_it_wakes(tmp_path):
    with Cluster(tmp_path, coordinators=2) as cluster:
        cluster.execute(LOAD)
        progresses(cluster)
        leader = cluster.leader
        standby = next(coordinator for coordinator in cluster.coordinators if coordinator is not leader)
        leader.signal(signal.SIGSTOP)
        # It accepts connections and answers nothing.
        cluster.coordinators.remove(leader)
        cluster.wait(standby.is_ready, "the other coordinator leads")
        cluster.wait_for_workers(3)
        progresses(cluster)
        leader.signal(signal.SIGCONT)
        assert leader.process.wait(30) == 1
        assert "does not lead any more" in leader.log()
        progresses(cluster)
        verified(cluster, "by_key", "total")


def test_the_autoscaler_starts_and_stops_workers_as_the_load_asks(tmp_path):
    options = ("--autoscale", "1..3")
    with Cluster(tmp_path, workers=0, options=options) as cluster:
        cluster.wait_for_workers(1)
        # As fast as it can.
        heavy = LOAD.replace("'rows-per-second' = '5000'", "'rows-per-second' = '0'")
        cluster.execute(heavy)
        cluster.wait_for_workers(3)
        consistent(cluster)
        cluster.execute("DROP MATERIALIZED VIEW by_key CASCADE; DROP TABLE load;" + LOAD.replace("5000", "100"))
        cluster.wait_for_workers(1)
        progresses(cluster)
        verified(cluster, "by_key", "total")


class Inserts(threading.Thread):
    """Inserts numbers one by one, and remembers which were acknowledged."""

    def __init__(self, cluster):
        super().__init__()
        self.cluster, self.acknowledged, self.over = cluster, [], threading.Event()

    def run(self):
        number = 0
        while not self.over.is_set():
            number += 1
            try:
                with self.cluster.find_leader(30).connect(connect_timeout=5) as connection:
                    connection.execute(f"INSERT INTO numbers VALUES ({number})")
                self.acknowledged.append(number)
            except (psycopg.Error, AssertionError):
                pass
            time.sleep(0.05)


@pytest.fixture
def network():
    """Where links can be cut, or None on machines on which that is not allowed."""
    made = Network() if available() else None
    yield made
    if made:
        made.close()


def test_chaos(tmp_path, request, network):
    """Everything dies, hangs, is cut off, leaves and joins at random while rows come in; in the end nothing is missing and nothing is
    there twice."""
    seconds = request.config.getoption("--chaos")
    rng = random.Random(request.config.getoption("--seed"))
    with Cluster(tmp_path, coordinators=2, network=network) as cluster:
        cluster.execute(LOAD + "CREATE TABLE numbers (n BIGINT PRIMARY KEY); CREATE MATERIALIZED VIEW counted AS SELECT COUNT(*) AS c, SUM(n) AS s FROM numbers")
        inserts = Inserts(cluster)
        inserts.start()
        try:
            disturb(cluster, rng, time.monotonic() + seconds)
        finally:
            inserts.over.set()
            inserts.join()
        progresses(cluster)
        cluster.execute("FLUSH")
        found = {row[0] for row in cluster.rows("SELECT n FROM numbers")}
        assert len(inserts.acknowledged) > seconds, "hardly any insert was acknowledged"
        assert set(inserts.acknowledged) <= found, "acknowledged rows are lost"
        assert cluster.rows("SELECT c, s FROM counted") == [(len(found), sum(found))]
        verified(cluster, "by_key", "total", "counted")


def disturb(cluster, rng, until):
    """Does one thing after the other at random moments; whoever hangs or is cut off comes back before the next one."""
    seen, undo = 0, []
    kinds = ["kill", "kill", "hang", "leave", "join", "leader"] + ["cut", "cut"] * bool(cluster.network)
    while time.monotonic() < until:
        time.sleep(rng.uniform(0.2, 3.5))
        for mend in undo:
            mend()
        undo.clear()
        cluster.workers = [worker for worker in cluster.workers if worker.is_alive()]
        kind = rng.choice(kinds)
        worker = rng.choice(cluster.workers) if cluster.workers else None
        if kind == "join" or worker is None:
            if len(cluster.workers) < 4:
                cluster.add_worker()
        elif kind == "leader":
            cluster.find_leader().kill()
            cluster.coordinators = [coordinator for coordinator in cluster.coordinators if coordinator.is_alive()]
            # At the address of the old one, which the workers know.
            cluster.revive_coordinator()
        elif kind == "kill":
            worker.kill()
            cluster.add_worker()
        elif kind == "hang":
            worker.signal(signal.SIGSTOP)
            undo.append(lambda worker=worker: worker.signal(signal.SIGCONT))
        elif kind == "cut":
            cluster.network.cut(worker.member)
            undo.append(lambda worker=worker: cluster.network.mend(worker.member))
        elif len(cluster.workers) > 1:
            worker.signal(signal.SIGTERM)
        try:
            now = consistent(cluster)
        except psycopg.Error:
            continue  # The leader has just died.
        assert now >= seen, "rows that were visible are gone"
        seen = now
    for mend in undo:
        mend()
    cluster.workers = [worker for worker in cluster.workers if worker.is_alive()]
    if len(cluster.workers) < 2:
        cluster.add_worker()
