"""The HTTP API: statements, submissions, jobs, tables, and that its OpenAPI document is true."""

import json
import socket
import time

import jsonschema
import openapi_spec_validator
import pyarrow
import pyarrow.ipc
import pytest

from frazil import PATIENCE, wait_until
from http_api import Api, Refused
from server import Server

ARROW = "application/vnd.apache.arrow.stream"
ENDLESS = "WITH (connector = 'datagen', 'rows-per-second' = '100', 'fields.n.kind' = 'sequence', 'fields.n.start' = '1')"

# A million rows, the last of which cannot be computed.
FAILS_LATE = "SELECT 1 / (2000 - a.value - b.value) AS x FROM generate_series(1, 1000) a, generate_series(1, 1000) b"


@pytest.fixture(scope="module")
def api(server):
    return Api(server)


@pytest.fixture(scope="module")
def document(api):
    return api.get("/openapi.json")


@pytest.fixture(scope="module")
def furnished(api):
    """A warehouse with something of everything."""
    api.sql(
        f"""
        CREATE TABLE orders (k BIGINT PRIMARY KEY, customer VARCHAR, price DECIMAL(10, 2));
        CREATE TABLE copies (k BIGINT, customer VARCHAR);
        CREATE TABLE clock (n BIGINT) {ENDLESS};
        CREATE VIEW cheap AS SELECT * FROM orders WHERE price < 10;
        CREATE MATERIALIZED VIEW spent AS SELECT customer, sum(price) AS total FROM orders GROUP BY customer;
        CREATE MATERIALIZED VIEW rich AS SELECT customer FROM spent WHERE total > 100;
        INSERT INTO copies SELECT n, 'nobody' FROM clock;
        INSERT INTO orders VALUES (1, 'ann', 5), (2, 'bob', 200), (3, NULL, NULL);
        INSERT INTO orders VALUES (4, 'ann', 7);
        FLUSH
        """
    )
    return api


def refused(call, *arguments, **more):
    with pytest.raises(Refused) as raised:
        call(*arguments, **more)
    return raised.value


# Statements


def test_statements_answer_in_turn(api):
    results = api.sql("CREATE TABLE turns (k BIGINT PRIMARY KEY); INSERT INTO turns VALUES (1), (2); SELECT k FROM turns ORDER BY k")
    assert [result["tag"] for result in results] == ["CREATE TABLE", "INSERT 0 2", "SELECT 2"]
    assert [result["rows"] for result in results] == [None, None, [["1"], ["2"]]]
    assert results[0]["columns"] is None and results[2]["columns"] == [{"name": "k", "type": "BIGINT"}]
    assert all(result["elapsed_ms"] >= 0 and not result["truncated"] for result in results)
    assert api.sql(" ; ") == []


def test_values_are_text_as_postgresql_writes_it(api):
    [result] = api.sql(
        """SELECT 9223372036854775807 AS big, CAST(1.5 AS DECIMAL(10, 2)) AS exact, 'é "x"' AS text, TRUE AS yes, NULL AS nothing, 0.1::DOUBLE AS real,
        DATE '2024-02-29' AS day, TIMESTAMP '2024-01-01 10:00:00.5' AS at, ARRAY[1, NULL] AS list, 'a'::BYTEA AS bytes"""
    )
    assert result["rows"] == [
        ["9223372036854775807", "1.50", 'é "x"', "t", None, "0.1", "2024-02-29", "2024-01-01 10:00:00.5", "{1,NULL}", "\\x61"]
    ]
    types = {column["name"]: column["type"] for column in result["columns"]}
    assert (types["big"], types["text"], types["at"], types["yes"]) == ("BIGINT", "VARCHAR", "TIMESTAMP", "BOOLEAN")


def test_no_more_rows_come_than_asked_for(api):
    numbers = "SELECT value FROM generate_series(1, 1500) ORDER BY value"
    [result] = api.sql(numbers)
    assert len(result["rows"]) == 1000 and result["truncated"] and result["tag"] == "SELECT 1000"
    [result] = api.sql(numbers, max_rows=1500)
    assert len(result["rows"]) == 1500 and not result["truncated"]
    [result] = api.sql(numbers, max_rows=0)
    assert result["rows"] == [] and result["truncated"] and result["columns"]
    assert refused(api.sql, numbers, max_rows=10**9).status == 400
    # The rest is not computed: there would be a row that cannot be.
    [result] = api.sql(FAILS_LATE, max_rows=1)
    assert result["rows"] == [["0"]] and result["truncated"]


def test_errors_say_what_where_and_what_to_do(api):
    failed = refused(api.sql, "SELECT 1;\nSELECT * FROM nowhere; SELECT 2")
    assert failed.status == 400
    assert failed.error == {
        "code": "42P01",
        "message": "there is no table or view named nowhere",
        "cause": None,
        "hint": failed.error["hint"],
        "detail": None,
        "position": {"line": 2, "column": 15},
    }
    assert failed.error["hint"]
    assert [result["rows"] for result in failed.body["results"]] == [[["1"]]]
    syntax = refused(api.sql, "SELECT 1; SELEC 2")
    assert (syntax.error["code"], syntax.error["position"]) == ("42601", {"line": 1, "column": 11})
    assert "results" not in syntax.body
    assert refused(api.sql, "SELECT 1 / 0").error["code"] == "22012"


def test_requests_that_make_no_sense_are_refused_in_the_same_form(api):
    for body, status in [({}, 422), ({"sql": 1}, 422), ({"sql": "SELECT 1", "other": 1}, 422), ({"sql": "SELECT 1", "base_dir": "x"}, 400)]:
        assert refused(api.post, "/api/v1/statements", body).status == status, body
    for headers, content, status in [({"content-type": "application/json"}, b"{", 400), ({"content-type": "text/plain"}, b"{}", 400)]:
        found, _, answer = api.request("POST", "/api/v1/statements", content, headers)
        assert found == status and json.loads(answer)["error"]["message"], answer
    assert refused(api.get, "/api/v1/nothing").status == 404
    assert refused(api.get, "/api/v1/statements").status == 405
    assert refused(api.get, "/api/v1/jobs/%FF").status == 400


def test_pages_of_other_origins_are_refused(api):
    own = api.server.url()
    for origin, wanted in [(own, 200), ("http://evil.example", 403), ("null", 403)]:
        status, _, _ = api.request("POST", "/api/v1/statements", {"sql": "SELECT 1"}, {"origin": origin})
        assert status == wanted, origin
    assert api.request("POST", "/api/v1/jobs/nothing/stop", headers={"origin": "http://evil.example"})[0] == 403
    # A name of the page's own that leads here (DNS rebinding).
    rebound = {"origin": "http://evil.example", "host": "evil.example"}
    assert api.request("POST", "/api/v1/statements", {"sql": "SELECT 1"}, rebound)[0] == 403


def test_bodies_have_a_limit(api):
    fits = "SELECT 1 -- " + "x" * (15 << 20)
    assert api.rows(fits) == [["1"]]
    status, _, _ = api.request("POST", "/api/v1/statements", b" " * (17 << 20))
    assert status == 413


def test_settings_hold_for_one_request(api):
    assert api.rows("SET commit_interval = '250ms'; SHOW commit_interval") == [["250ms"]]
    assert api.rows("SHOW commit_interval") != [["250ms"]]
    [result] = api.sql("SHOW commit_interval", settings={"commit_interval": "125ms"})
    assert result["rows"] == [["125ms"]]
    [result] = api.sql("SET commit_intervall = '1s'")
    assert "commit_interval" in result["notice"]
    assert refused(api.sql, "SELECT 1", settings={"commit_interval": "soon"}).status == 400


def arrow(api, sql):
    return api.request("POST", "/api/v1/statements", {"sql": sql}, {"accept": ARROW})


def test_rows_come_as_an_arrow_stream(api):
    status, headers, content = arrow(api, "SELECT value AS n, CAST(value AS VARCHAR) AS t FROM generate_series(1, 20000) ORDER BY value")
    assert (status, headers.get_content_type(), headers["x-frazil-tag"]) == (200, ARROW, "SELECT")
    table = pyarrow.ipc.open_stream(content).read_all()
    assert table.column("n").to_pylist() == list(range(1, 20001))
    assert table.column("t").to_pylist()[-1] == "20000"
    _, _, content = arrow(api, "SELECT 1 AS n WHERE FALSE")
    assert pyarrow.ipc.open_stream(content).read_all().num_rows == 0


def test_statements_without_rows_answer_in_headers(api):
    status, headers, content = arrow(api, "CREATE TABLE IF NOT EXISTS arrows (k BIGINT)")
    assert (status, headers["x-frazil-tag"], content) == (200, "CREATE TABLE", b"")
    _, headers, _ = arrow(api, "SET nonsense = 'é'")
    assert headers["x-frazil-tag"] == "SET" and "nonsense" in headers["x-frazil-notice"]
    assert arrow(api, "SELECT 1; SELECT 2")[0] == 400
    status, _, content = arrow(api, "SELECT nothing")
    assert status == 400 and json.loads(content)["error"]["position"]


def test_an_error_after_the_first_rows_breaks_the_stream(api):
    status, _, content = arrow(api, FAILS_LATE)
    assert status == 200
    reader = pyarrow.ipc.open_stream(content)
    with pytest.raises((OSError, pyarrow.ArrowInvalid)):
        reader.read_all()
    error = json.loads(content[content.rindex(b'{"error"') :])["error"]
    assert error["code"] == "22012"


def test_a_statement_ends_when_its_client_goes_away(api):
    """A query that takes minutes: after the client is gone, the process uses no CPU any more."""
    body = json.dumps({"sql": "SELECT count(*) FROM generate_series(1, 30000) a, generate_series(1, 30000) b WHERE a.value * b.value = -1"}).encode()
    head = f"POST /api/v1/statements HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    used = lambda: api.get("/api/v1/overview")["cpu_seconds"]
    with socket.create_connection(("127.0.0.1", api.server.http_port)) as client:
        before = used()
        client.sendall(head.encode() + body)
        wait_until(lambda: used() - before > 1, "the query computes")

    def idle():
        start = used()
        time.sleep(1)
        return used() - start < 0.5

    wait_until(idle, "the query has ended")


# Submissions


def test_a_file_is_submitted_with_its_directory(api, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for place, rows in [(first, "1\n2\n"), (second, "1\n2\n3\n")]:
        place.mkdir()
        (place / "numbers.csv").write_text(rows)
    sql = """
    CREATE TABLE submitted_numbers (n BIGINT) WITH (connector = 'filesystem', path = 'numbers.csv', format = 'csv');
    CREATE TABLE submitted_copy (n BIGINT);
    CREATE MATERIALIZED VIEW submitted_sum AS SELECT sum(n) AS s FROM submitted_copy;
    INSERT INTO submitted_copy SELECT n FROM submitted_numbers;
    """
    submit = lambda place: api.post("/api/v1/submissions", {"sql": sql, "base_dir": str(place)})["jobs"]
    names = submit(first)
    assert sorted(names) == ["insert_into_submitted_copy_1", "submitted_sum"]
    api.wait_for_rows("SELECT s FROM submitted_sum", [["3"]])
    assert api.rows("SELECT count(*) FROM submitted_numbers") == [["2"]]
    # The same file again, from elsewhere: nothing is created, and its paths start there.
    assert submit(second) == names
    assert api.rows("SELECT count(*) FROM submitted_numbers") == [["3"]]
    changed = sql.replace("sum(n)", "max(n)")
    failed = refused(api.post, "/api/v1/submissions", {"sql": changed, "base_dir": str(first)})
    assert failed.status == 400 and failed.error["position"] and failed.error["detail"]
    assert refused(api.post, "/api/v1/submissions", {"sql": "SELECT 1"}).status == 400


# Jobs


def test_jobs_say_what_they_do(furnished):
    jobs = {job["name"]: job for job in furnished.get("/api/v1/jobs")["jobs"]}
    spent = jobs["spent"]
    assert (spent["kind"], spent["status"], spent["runner"]) == ("materialized view", "running", "this process")
    assert (spent["inputs"], spent["targets"]) == (["orders"], ["spent"])
    assert spent["epoch"] > 0 and spent["version"] > 0 and spent["error"] is None
    assert spent["rows_in"] > 0 and spent["rows_out"] > 0 and spent["checkpoint_age_ms"] >= 0
    assert jobs["insert_into_copies_1"]["kind"] == "insert"
    assert furnished.job("spent")["sql"] == spent["sql"]
    assert refused(furnished.job, "nothing").status == 404


def test_a_paused_job_stays_so_and_the_others_go_on(tmp_path):
    server = Server(tmp_path)
    api = Api(server)
    api.sql(
        """
        CREATE TABLE base (k BIGINT PRIMARY KEY);
        CREATE MATERIALIZED VIEW lower AS SELECT count(*) AS n FROM base;
        CREATE MATERIALIZED VIEW upper AS SELECT n + 100 AS n FROM lower;
        INSERT INTO base VALUES (1);
        FLUSH
        """
    )
    paused = api.control("upper", "pause")
    assert (paused["status"], paused["runner"]) == ("paused", None)
    assert api.control("upper", "pause")["status"] == "paused"
    api.sql("INSERT INTO base VALUES (2); FLUSH")
    assert api.rows("SELECT n FROM lower") == [["2"]] and api.rows("SELECT n FROM upper") == [["101"]]
    assert server.stop() == 0
    server.start()
    assert api.job("upper")["status"] == "paused" and api.job("lower")["status"] == "running"
    assert api.get("/api/v1/overview")["jobs"] == {"running": 1, "failed": 0, "paused": 1, "finished": 0}
    api.sql("INSERT INTO base VALUES (3); FLUSH")
    assert api.rows("SELECT n FROM lower") == [["3"]] and api.rows("SELECT n FROM upper") == [["101"]]
    # The lower one may be paused, too: then nothing moves, and both catch up whatever comes first.
    api.control("lower", "pause")
    api.sql("INSERT INTO base VALUES (4); FLUSH")
    assert api.rows("SELECT n FROM lower") == [["3"]]
    resumed = api.control("upper", "resume")
    assert (resumed["status"], resumed["runner"]) == ("running", "this process")
    api.sql("FLUSH")
    assert api.rows("SELECT n FROM upper") == [["103"]]
    assert api.control("lower", "resume")["status"] == "running"
    api.sql("FLUSH")
    assert api.rows("SELECT l.n, u.n FROM lower l, upper u") == [["4", "104"]]
    api.sql("INSERT INTO base VALUES (5); FLUSH; VERIFY MATERIALIZED VIEW upper")
    assert api.rows("SELECT n FROM upper") == [["105"]]
    assert server.stop() == 0


def test_jobs_restart_and_stop(api):
    api.sql(f"CREATE TABLE ticks (n BIGINT) {ENDLESS}; CREATE TABLE ticked (n BIGINT); INSERT INTO ticked SELECT n FROM ticks")
    name = "insert_into_ticked_1"
    count = lambda: int(api.rows("SELECT count(*) FROM ticked")[0][0])
    wait_until(lambda: count() > 0, "the job writes")
    restarted = api.control(name, "restart")
    assert restarted["status"] == "running"
    before = count()
    wait_until(lambda: count() > before, "it goes on")
    assert api.rows("SELECT count(*) - count(DISTINCT n), max(n) - count(*) FROM ticked") == [["0", "0"]]
    assert api.control(name, "stop") == {"stopped": name}
    assert refused(api.job, name).status == 404
    after = count()
    time.sleep(0.5)
    assert count() == after
    for verb in ("pause", "resume", "restart", "stop"):
        assert refused(api.control, name, verb).status == 404


def test_the_job_of_a_view_cannot_be_stopped_for_good(furnished):
    failed = refused(furnished.control, "spent", "stop")
    assert failed.status == 409 and "DROP MATERIALIZED VIEW spent" in failed.error["hint"]
    assert furnished.job("spent")["status"] == "running"


# Tables


def test_tables_say_what_they_hold(furnished):
    tables = {table["name"]: table for table in furnished.get("/api/v1/tables")["tables"]}
    assert {name: tables[name]["kind"] for name in ("orders", "clock", "cheap", "spent")} == {
        "orders": "table",
        "clock": "datagen",
        "cheap": "view",
        "spent": "materialized view",
    }
    assert (tables["orders"]["key"], tables["orders"]["rows"], tables["orders"]["job"]) == (["k"], 4, None)
    assert tables["spent"]["job"] == "spent" and tables["copies"]["job"] == "insert_into_copies_1"
    assert tables["cheap"]["rows"] is None and tables["cheap"]["changed_version"] is None
    orders = furnished.get("/api/v1/tables/orders")
    assert orders["columns"] == [
        {"name": "k", "type": "BIGINT", "nullable": False, "key": True},
        {"name": "customer", "type": "VARCHAR", "nullable": True, "key": False},
        {"name": "price", "type": "DECIMAL(10, 2)", "nullable": True, "key": False},
    ]
    assert orders["dependents"] == ["cheap", "spent"]
    assert furnished.get("/api/v1/tables/clock")["dependents"] == ["insert_into_copies_1"]
    assert sum(part["rows"] for part in orders["segments"] + orders["files"]) == 4
    assert furnished.get("/api/v1/tables/rich")["depends_on"] == ["spent"]
    assert refused(furnished.get, "/api/v1/tables/nothing").status == 404


def test_versions_are_told(furnished):
    versions = furnished.get("/api/v1/tables/orders/versions")["versions"]
    changes = [version for version in versions if version["kind"] == "segment"]
    assert [change["rows_changed"] for change in changes] == [1, 3]
    assert [v["version"] for v in versions] == sorted((v["version"] for v in versions), reverse=True)
    now = furnished.get("/api/v1/overview")["now_ms"]
    assert all(0 <= now - version["committed_ms"] < PATIENCE * 1000 for version in versions)
    assert furnished.get("/api/v1/tables/cheap/versions")["versions"] == []


def test_lineage_has_layers(furnished):
    lineage = furnished.get("/api/v1/lineage")
    layers = {node["name"]: node["layer"] for node in lineage["nodes"]}
    wanted = {"orders": 0, "spent": 1, "rich": 2, "cheap": 1, "insert_into_copies_1": 1, "copies": 2}
    assert {name: layers[name] for name in wanted} == wanted
    edges = {(edge["from"], edge["to"]) for edge in lineage["edges"]}
    assert {("orders", "spent"), ("spent", "rich"), ("clock", "insert_into_copies_1"), ("insert_into_copies_1", "copies")} <= edges
    assert next(node["status"] for node in lineage["nodes"] if node["name"] == "spent") == "running"


def test_the_overview_counts(furnished):
    overview = furnished.get("/api/v1/overview")
    assert overview["jobs"]["running"] >= 3 and overview["tables"] >= 3 and overview["views"] >= 3
    assert 0 <= overview["now_ms"] - overview["started_ms"] < PATIENCE * 10_000
    assert overview["memory_bytes"] > 1_000_000 and overview["cpu_seconds"] > 0
    assert overview["warehouse"].endswith("warehouse")


# The OpenAPI document


def test_the_document_is_valid(document):
    openapi_spec_validator.validate(document)


def named(path):
    """A path with names of things that exist."""
    name = "insert_into_copies_1" if "/stop" in path else "spent"
    return path.replace("{namespace}", "default").replace("{table}", "spent").replace("{name}", name)


def operations(document):
    methods = ("get", "head", "post", "put", "delete", "patch")
    pairs = [(method, path) for path, item in document["paths"].items() for method in item if method in methods]
    # What ends something comes last.
    return sorted(pairs, key=lambda pair: ("/stop" in pair[1], pair[1], pair[0]))


def check_answer(document, method, path, status, headers, content):
    """The answer is one that the document foresees."""
    operation = document["paths"][path][method]
    assert str(status) in operation["responses"], f"{method} {path} answered {status}: {content[:300]}"
    described = operation["responses"][str(status)].get("content", {})
    if not described:
        assert content == b"", f"{method} {path}"
        return
    assert headers.get_content_type() in described, f"{method} {path}: {headers}"
    if headers.get_content_type() == "application/json" and method != "head":
        schema = {**described["application/json"]["schema"], "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(json.loads(content))


def test_every_operation_answers_as_the_document_says(document, furnished):
    bodies = {"/api/v1/statements": {"sql": "SELECT 1 AS a; SET x = 'y'"}, "/api/v1/submissions": {"sql": "SET x = 'y'"}}
    for method, path in operations(document):
        status, headers, content = furnished.request(method.upper(), named(path), bodies.get(path))
        assert status not in (404, 405), f"{method} {path} is not there"
        check_answer(document, method, path, status, headers, content)


def test_errors_are_as_the_document_says(document, furnished):
    for method, path in operations(document):
        if "{" in path:
            missing = path.replace("{namespace}", "default" if "{table}" in path else "nothing").replace("{table}", "nothing").replace("{name}", "nothing")
            status, headers, content = furnished.request(method.upper(), missing)
            assert status in (404, 406), f"{method} {missing}: {status}"
            check_answer(document, method, path, status, headers, content)
    for body in ({"sql": "SELECT 1; SELECT nothing"}, {"sql": "SELEC"}, {"sql": 1}):
        status, headers, content = furnished.request("POST", "/api/v1/statements", body)
        check_answer(document, "post", "/api/v1/statements", status, headers, content)
