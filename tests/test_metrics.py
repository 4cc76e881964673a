"""What a server says about itself: /metrics, the dataflow and checkpoints of jobs, and Prometheus and the dashboard over them."""

import json
import re
import subprocess
import threading
import time

import pytest

from frazil import PATIENCE, ROOT, wait_until
from http_api import Api, Refused
from prometheus import Prometheus, Scrape
from server import Server

FAST = """CREATE TABLE fast (id BIGINT, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '1' SECOND)
    WITH ('connector' = 'datagen', 'rows-per-second' = '2000')"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with jobs of every kind: over a generator, over tables, over each other, one with broken input."""
    directory = tmp_path_factory.mktemp("metrics")
    (directory / "broken.csv").write_text("1,a\nx,b\n3,c\n")
    server = Server(directory)
    with server.connect(autocommit=True) as connection:
        for statement in [
            FAST,
            "CREATE MATERIALIZED VIEW by_id AS SELECT id % 100 AS id, count(*) AS n FROM fast GROUP BY id % 100",
            "CREATE TABLE people (id BIGINT PRIMARY KEY, name TEXT)",
            "CREATE MATERIALIZED VIEW named AS SELECT p.name, b.n FROM by_id b JOIN people p ON p.id = b.id",
            "CREATE TABLE events (who BIGINT, at TIMESTAMP, WATERMARK FOR at AS at) APPEND ONLY",
            "CREATE MATERIALIZED VIEW per_who AS SELECT who, count(*) AS n FROM events GROUP BY who",
            f"""CREATE TABLE broken (id BIGINT, name TEXT) WITH ('connector' = 'filesystem', 'path' = '{directory}/broken.csv',
                'format' = 'csv', 'csv.ignore-parse-errors' = 'true')""",
            "CREATE MATERIALIZED VIEW whole AS SELECT * FROM broken",
            "INSERT INTO people SELECT i, 'person ' || i FROM generate_series(0, 9) AS t(i)",
            "FLUSH",
        ]:
            connection.execute(statement)
    yield server
    assert server.stop() == 0


# What only a coordinator has: tests/test_cluster.py looks at them.
OF_COORDINATORS = {"frazil_workers", "frazil_worker_slots", "frazil_recommended_workers"}


def get(server, path):
    return Api(server).get(path)


def documented():
    """Metrics of docs/metrics.md: name -> (type, labels)."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([\w, ]*) \|", (ROOT / "docs" / "metrics.md").read_text(), re.M)
    return {name: (kind, set(labels.replace(" ", "").split(",")) - {""}) for name, kind, labels in rows}


def series(name, kind):
    """The names of a metric's samples."""
    return [f"{name}_{part}" for part in ("sum", "count", "bucket")] if kind == "histogram" else [name]


def test_what_is_documented_is_exported(server):
    scrape = Scrape(server)
    assert scrape.types == {name: kind for name, (kind, _) in documented().items()}
    # A table whose rows were never tiered has no snapshot, so that may be missing for a while.
    with server.connect(autocommit=True) as connection:
        connection.execute("CREATE TABLE grows (x BIGINT)")
        age = "frazil_table_snapshot_age_seconds"
        wait_until(lambda: connection.execute("INSERT INTO grows VALUES (1)") and Scrape(server).all(age), "a table is tiered")
    scrape = Scrape(server)
    for name, (kind, labels) in documented().items():
        if name in OF_COORDINATORS:
            continue
        for sample in series(name, kind):
            found = scrape.all(sample)
            assert found, f"{sample} has no value"
            for keys in found:
                assert {key for key, _ in keys} - {"le"} == labels, sample


def test_rows_are_counted_exactly(server):
    with server.connect(autocommit=True) as connection:
        before = Scrape(server)
        rows = dict(job_name="per_who", table="events")
        read = before.value("frazil_job_input_rows_total", **rows)
        late = before.value("frazil_job_late_rows_total", **rows)
        connection.execute("INSERT INTO events SELECT i % 7, TIMESTAMP '2026-01-02 00:00:00' FROM generate_series(1, 700) AS t(i)")
        connection.execute("FLUSH")
        connection.execute("INSERT INTO events VALUES (1, TIMESTAMP '2026-01-01 00:00:00'), (8, TIMESTAMP '2026-01-03 00:00:00')")
        connection.execute("FLUSH")
        after = Scrape(server)
        assert after.value("frazil_job_input_rows_total", **rows) - read == 702
        assert after.value("frazil_job_late_rows_total", **rows) - late == 1
        jobs = connection.execute("SHOW JOBS")
        columns = [column.name for column in jobs.description]
        shown = {row["name"]: row for row in (dict(zip(columns, row)) for row in jobs)}
        assert (int(shown["per_who"]["late_rows"]), int(shown["whole"]["skipped_rows"])) == (late + 1, 1)
        job = dict(job_name="per_who")
        assert after.value("frazil_operator_state_rows", kind="aggregate", **job) == 8
        assert 100 < after.value("frazil_operator_state_bytes", kind="aggregate", **job) < 100_000
        # Seven groups appear, then one more; the aggregate emits each once in one epoch.
        assert after.value("frazil_job_output_rows_total", table="per_who", **job) == 8
        assert after.value("frazil_operator_rows_out_total", kind="aggregate", **job) == 8
        assert after.value("frazil_job_skipped_rows_total", job_name="whole") == 1
        assert after.value("frazil_job_input_rows_total", job_name="whole") == 2
        assert after.value("frazil_job_status", job_name="whole", status="finished") == 1
        assert after.value("frazil_job_local", job_name="whole") == 0
        # What waits for nothing is committed.
        assert after.value("frazil_job_uncommitted_age_seconds", **job) == 0
        assert after.value("frazil_job_commit_lag_seconds_count", **job) >= 2
        assert after.value("frazil_table_segments", table="events", tier="hot") + after.value(
            "frazil_table_files", table="events", content="data"
        ) >= 1


def test_a_job_shows_where_it_is_in_time(server):
    wait_until(lambda: Scrape(server).all("frazil_job_watermark_lag_seconds", job_name="by_id"), "there is a watermark")
    scrape = Scrape(server)
    names = dict(job_name="by_id", table="fast")
    event, watermark = (scrape.value(f"frazil_job_{what}_lag_seconds", **names) for what in ("event_time", "watermark"))
    assert watermark >= event + 0.9, "the clause says a second"


def test_busy_and_waiting_are_shares_of_time(server):
    first, began = Scrape(server), time.monotonic()
    time.sleep(2)
    second, passed = Scrape(server), time.monotonic() - began
    parallelism = second.value("frazil_job_parallelism", job_name="by_id")
    for name in ["frazil_operator_busy_seconds_total", "frazil_operator_backpressure_seconds_total"]:
        for labels, value in second.all(name).items():
            grown = value - first.samples.get((name, labels), 0)
            assert -1e-9 <= grown <= passed * parallelism * 1.2 + 0.2, (name, labels, grown)
    busy = lambda scrape: scrape.value("frazil_operator_busy_seconds_total", job_name="by_id", kind="aggregate")
    assert busy(second) > busy(first)
    cpu = lambda scrape: scrape.value("process_cpu_seconds_total")
    assert cpu(second) > cpu(first)
    assert 10e6 < second.value("process_resident_memory_bytes") < 50e9
    assert abs(second.value("process_start_time_seconds") - time.time()) < 3600


def test_an_input_that_is_faster_than_its_job_waits(server):
    with server.connect(autocommit=True) as connection:
        connection.execute("CREATE TABLE flood (id BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '50000000')")
        connection.execute("CREATE MATERIALIZED VIEW slow AS SELECT count(DISTINCT id) AS n FROM flood WHERE id % 2 = 0")
        waited = lambda table: Scrape(server).value("frazil_source_backpressure_seconds_total", table=table)
        before, began = [waited("flood"), waited("fast")], time.monotonic()
        time.sleep(2)
        passed = time.monotonic() - began
        flood, fast = (after - before for before, after in zip(before, [waited("flood"), waited("fast")]))
        connection.execute("DROP MATERIALIZED VIEW slow")
        connection.execute("DROP TABLE flood")
    assert flood / passed > 0.3 and fast < flood / 2, (flood, fast, passed)
    assert Scrape(server).all("frazil_source_backpressure_seconds_total", table="flood") == {}


def test_counters_never_fall_while_jobs_come_and_go(server):
    """A job that joins a pipeline or leaves it starts the pipeline anew."""
    stop, fell, scrapes = threading.Event(), [], []

    def watch():
        last = Scrape(server).counters()
        while not stop.is_set():
            now = Scrape(server).counters()
            fell.extend((key, value, now[key]) for key, value in last.items() if now.get(key, value) < value)
            last = now
            scrapes.append(len(now))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with server.connect(autocommit=True) as connection:
            connection.execute("CREATE TABLE twice (id BIGINT)")
            for _ in range(3):
                connection.execute("CREATE MATERIALIZED VIEW above AS SELECT sum(n) AS n FROM by_id")
                connection.execute("INSERT INTO twice VALUES (1)")
                connection.execute("DROP MATERIALIZED VIEW above")
    finally:
        stop.set()
        watcher.join()
    assert fell == [] and len(scrapes) > 3
    assert Scrape(server).all("frazil_job_input_rows_total", job_name="above") == {}


def test_the_dataflow_of_a_job(server):
    flow = get(server, "/api/v1/jobs/named/dataflow")
    assert flow["job"] == "named" and sorted(flow["pipeline_jobs"]) == ["by_id", "named"]
    nodes = {node["id"]: node for node in flow["nodes"]}
    assert sorted(nodes) == list(range(len(nodes)))
    one = lambda kind, job: next(n for n in nodes.values() if n["kind"] == kind and n["jobs"][0] == job)
    assert one("source", "by_id")["object"] == "fast" and one("source", "by_id")["rows_in"] > 0
    assert set(one("aggregate", "by_id")["jobs"]) == {"by_id", "named"}, "what by_id computes serves its reader too"
    assert one("output", "by_id")["jobs"] == ["by_id"]
    assert "Aggregate by" in one("aggregate", "by_id")["label"] and "state:" in one("aggregate", "by_id")["detail"]
    join = one("join", "named")
    assert join["state_rows"] >= 10 and join["state_bytes"] > 0 and join["parallelism"] >= 1
    inputs = [edge for edge in flow["edges"] if edge["to"] == join["id"]]
    assert len(inputs) == 2 and {edge["exchange"] for edge in inputs} <= {"forward", "hash"}
    # Everything that is not read from outside gets its rows from somewhere.
    fed = {edge["to"] for edge in flow["edges"]}
    assert {n["kind"] for n in nodes.values() if n["id"] not in fed} == {"source", "table"}
    later = {n["id"]: n for n in get(server, "/api/v1/jobs/by_id/dataflow")["nodes"]}
    for node, then in nodes.items():
        for count in ["rows_in", "rows_out", "busy_ms", "backpressure_ms", "late_rows"]:
            assert later[node][count] >= then[count]


def test_a_job_that_has_ended_still_shows_what_it_did(server):
    flow = get(server, "/api/v1/jobs/whole/dataflow")
    source = next(node for node in flow["nodes"] if node["kind"] == "source")
    assert (source["rows_in"], source["object"]) == (2, "broken")


def test_a_job_that_never_ran_here_shows_what_it_would_do(tmp_path):
    server = Server(tmp_path)
    with server.connect(autocommit=True) as connection:
        connection.execute("CREATE TABLE t (x BIGINT)")
        connection.execute("CREATE MATERIALIZED VIEW fails AS SELECT 1 / x AS y FROM t")
        connection.execute("INSERT INTO t VALUES (0)")
        failed = lambda: Scrape(server).value("frazil_job_status", job_name="fails", status="failed")
        wait_until(failed, "the job fails")
    assert server.stop() == 0
    server.start()
    flow = get(server, "/api/v1/jobs/fails/dataflow")
    assert [node["kind"] for node in flow["nodes"]] == ["table", "map", "output"]
    assert {node["rows_in"] for node in flow["nodes"]} == {0}
    assert get(server, "/api/v1/jobs/fails/checkpoints") == {"checkpoints": []}
    assert failed()
    assert server.stop() == 0


def test_a_paused_job_stands_still(server):
    api = Api(server)
    api.post("/api/v1/jobs/per_who/pause")
    try:
        scrape = Scrape(server)
        assert scrape.value("frazil_job_status", job_name="per_who", status="paused") == 1
        assert scrape.value("frazil_jobs", status="paused") == 1
        assert scrape.value("frazil_job_local", job_name="per_who") == 0
        read = scrape.value("frazil_job_input_rows_total", job_name="per_who")
        api.sql("INSERT INTO events VALUES (1, TIMESTAMP '2026-02-01 00:00:00')")
        time.sleep(0.5)
        assert Scrape(server).value("frazil_job_input_rows_total", job_name="per_who") == read
        assert api.job("per_who")["status"] == "paused"
    finally:
        api.post("/api/v1/jobs/per_who/resume")
    api.sql("FLUSH")
    assert Scrape(server).value("frazil_job_input_rows_total", job_name="per_who") == read + 1
    assert api.job("per_who")["rows_in"] == read + 1, "the counters go on where they were"


def test_checkpoints_of_a_job(server):
    wait_until(lambda: len(get(server, "/api/v1/jobs/by_id/checkpoints")["checkpoints"]) >= 100, "there are 100 checkpoints")
    checkpoints = get(server, "/api/v1/jobs/by_id/checkpoints")["checkpoints"]
    assert len(checkpoints) == 100
    for column in ["epoch", "version", "committed_ms"]:
        values = [checkpoint[column] for checkpoint in checkpoints]
        assert values == sorted(values, reverse=True), column
    newest = checkpoints[0]
    assert newest["files"] >= 1 and newest["bytes"] > 100 and 0 <= newest["duration_ms"] < PATIENCE * 1000
    assert abs(newest["committed_ms"] / 1000 - time.time()) < PATIENCE


def test_jobs_that_do_not_exist_are_not_found(server):
    for path in ["dataflow", "checkpoints"]:
        with pytest.raises(Refused) as refused:
            get(server, f"/api/v1/jobs/nobody/{path}")
        assert refused.value.status == 404 and "nobody" in refused.value.error["message"]


def test_strange_names_are_escaped(server):
    name = 'a "quoted" \\ name'
    with server.connect(autocommit=True) as connection:
        connection.execute(f"""CREATE TABLE "{name.replace('"', '""')}" (x BIGINT)""")
        assert Scrape(server).value("frazil_table_segments", table=name, tier="hot") == 0
        connection.execute(f"""DROP TABLE "{name.replace('"', '""')}\"""")


def test_both_formats_say_the_same(server):
    plain, open_metrics = Scrape(server), Scrape(server, "application/openmetrics-text; version=1.0.0, text/plain;q=0.5")
    assert plain.content_type.startswith("text/plain; version=0.0.4")
    assert open_metrics.content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert open_metrics.text.endswith("# EOF\n") and "# EOF" not in plain.text
    assert set(plain.samples) == set(open_metrics.samples)


def test_prometheus_accepts_the_text(server):
    subprocess.run(["promtool", "check", "config", str(ROOT / "deploy" / "prometheus.yml")], check=True, timeout=PATIENCE)
    check = ["promtool", "check", "metrics"]
    checked = subprocess.run(check, input=Scrape(server).text, capture_output=True, text=True, timeout=PATIENCE)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def dashboard():
    """Every expression of the dashboard with its legend, and the variables by name."""
    board = json.loads((ROOT / "deploy" / "grafana" / "frazil.json").read_text())
    targets = [target for panel in board["panels"] for target in panel.get("targets", [])]
    assert len(targets) > 20
    variables = {v["name"]: v["query"] for v in board["templating"]["list"]}
    return [(target["expr"], target["legendFormat"]) for target in targets], variables


# Labels that Prometheus adds, and the one of the buckets of histograms.
FOREIGN = {"job", "instance", "le"}


def test_the_dashboard_asks_for_what_there_is():
    exported = {sample: labels for name, (kind, labels) in documented().items() for sample in series(name, kind)}
    expressions, variables = dashboard()
    asked = set()
    for expression, legend in expressions:
        metrics = re.findall(r"\b(?:frazil|process)_\w+", expression)
        assert metrics and set(metrics) <= set(exported), expression
        asked |= set(metrics)
        known = set.union(*(exported[metric] for metric in metrics)) | FOREIGN
        for metric, selector in re.findall(r"\b((?:frazil|process)_\w+)\{(.*?)\}", expression):
            selected = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
            assert selected <= exported[metric] | FOREIGN, expression
        grouped = re.findall(r"\b(?:by|on|without|ignoring)\s*\(([\w, ]*)\)", expression)
        used = {label for group in grouped for label in group.replace(" ", "").split(",")}
        used |= set(re.findall(r"\{\{(\w+)\}\}", legend))
        assert used <= known, (expression, legend)
        assert set(re.findall(r"\$(\w+)", expression)) <= set(variables) | {"__rate_interval"}, expression
    for name, query in variables.items():
        if name != "datasource":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", query["query"]).groups()
            assert label in exported[metric]
    missing = {name for name, (kind, _) in documented().items() if not asked & set(series(name, kind))}
    assert missing <= {"frazil_build_info", "frazil_job_epoch", "frazil_job_local"}, "metrics that nobody looks at"


def test_prometheus_scrapes_and_the_dashboard_has_values(server, tmp_path):
    with Prometheus(tmp_path, server) as prometheus:
        subprocess.run(["promtool", "check", "config", str(prometheus.config)], check=True, timeout=PATIENCE)
        target = prometheus.target()
        assert (target["health"], target["lastError"]) == ("up", ""), target
        rate = 'rate(frazil_job_input_rows_total{job_name="by_id"}[10s])'
        wait_until(lambda: prometheus.query(rate), "Prometheus has scraped twice")
        (read,) = prometheus.query(rate)
        assert read["metric"]["job"] == "frazil" and read["metric"]["table"] == "fast"
        assert 200 < float(read["value"][1]) < 20_000
        # No expression is wrong, and none is empty but those that tell of trouble.
        for expression, _ in dashboard()[0]:
            concrete = expression.replace("$__rate_interval", "10s").replace("$job_name", ".*").replace("$table", ".*")
            result = prometheus.query(concrete)
            assert result or 'status!="running"' in concrete or concrete in OF_COORDINATORS, concrete
        assert prometheus.target()["lastError"] == ""
