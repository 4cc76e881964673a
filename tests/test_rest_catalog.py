"""The Iceberg REST catalog: PyIceberg and DuckDB attach to a running server and read every table while views follow inserts."""

import json
import urllib.request

import pytest
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

from duck import duckdb_with
from http_api import Api
from server import Server

TABLES = {
    "sales": "SELECT k, shop, price FROM sales",
    "turnover": "SELECT shop, total, n FROM turnover",
    "best": "SELECT total FROM best",
    "untouched": "SELECT k FROM untouched",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("rest"))
    api = Api(server)
    api.sql(
        """
        CREATE TABLE sales (k BIGINT PRIMARY KEY, shop VARCHAR, price BIGINT);
        CREATE TABLE untouched (k BIGINT);
        CREATE VIEW plain AS SELECT k FROM sales;
        CREATE MATERIALIZED VIEW turnover AS SELECT shop, CAST(sum(price) AS BIGINT) AS total, count(*) AS n FROM sales GROUP BY shop;
        CREATE MATERIALIZED VIEW best AS SELECT max(total) AS total FROM turnover
        """
    )
    yield api
    assert server.stop() == 0


@pytest.fixture(scope="module")
def pyiceberg_catalog(served):
    return RestCatalog("frazil", uri=served.server.url("/iceberg"))


@pytest.fixture(scope="module")
def duck(served):
    connection = duckdb_with("avro", "httpfs", "iceberg")
    connection.execute(f"ATTACH '' AS f (TYPE ICEBERG, ENDPOINT '{served.server.url('/iceberg')}', AUTHORIZATION_TYPE 'none')")
    return connection


def through_pyiceberg(catalog, name):
    rows = catalog.load_table(("default", name)).scan().to_arrow()
    return sorted(tuple(row.values()) for row in rows.to_pylist())


def through_duckdb(connection, name):
    return sorted(connection.execute(f"SELECT * FROM f.default.{name}").fetchall())


def test_every_stored_table_is_listed(served, pyiceberg_catalog, duck):
    assert pyiceberg_catalog.list_namespaces() == [("default",)]
    assert sorted(pyiceberg_catalog.list_tables("default")) == sorted(("default", name) for name in TABLES)
    assert pyiceberg_catalog.table_exists(("default", "best")) and not pyiceberg_catalog.table_exists(("default", "plain"))
    assert pyiceberg_catalog.namespace_exists("default") and not pyiceberg_catalog.namespace_exists("other")
    with pytest.raises(NoSuchTableError):
        pyiceberg_catalog.load_table(("default", "nothing"))
    with pytest.raises(NoSuchNamespaceError):
        pyiceberg_catalog.list_tables("other")
    shown = duck.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'f'").fetchall()
    assert sorted(name for (name,) in shown) == sorted(TABLES)


def test_readers_see_every_commit_while_views_follow(served, pyiceberg_catalog, duck):
    sales = {}
    for step in range(6):
        for k in (step, step + 1):
            sales[k] = (k, f"shop{k % 2}", 10 * k + step)
            served.sql(f"INSERT INTO sales VALUES ({k}, 'shop{k % 2}', {10 * k + step})")
        if step == 4:
            served.sql("DELETE FROM sales WHERE k = 0")
            del sales[0]
        served.sql("FLUSH")
        turnover = {}
        for _, shop, price in sales.values():
            total, n = turnover.get(shop, (0, 0))
            turnover[shop] = (total + price, n + 1)
        wanted = {
            "sales": sorted(sales.values()),
            "turnover": sorted((shop, *sums) for shop, sums in turnover.items()),
            "best": [(max(total for total, _ in turnover.values()),)],
            "untouched": [],
        }
        for name in TABLES:
            assert through_pyiceberg(pyiceberg_catalog, name) == wanted[name], (step, name)
            assert through_duckdb(duck, name) == wanted[name], (step, name)
            rows = served.rows(TABLES[name])
            assert sorted(tuple(map(str, row)) for row in wanted[name]) == sorted(tuple(row) for row in rows)


def test_what_would_change_something_is_refused_in_the_protocols_form(served, pyiceberg_catalog):
    for method, path in [
        ("POST", "/namespaces"),
        ("DELETE", "/namespaces/default"),
        ("POST", "/namespaces/default/tables"),
        ("POST", "/namespaces/default/tables/sales"),
        ("DELETE", "/namespaces/default/tables/sales"),
        ("POST", "/tables/rename"),
        ("POST", "/transactions/commit"),
    ]:
        status, _, content = served.request(method, f"/iceberg/v1{path}", {})
        error = json.loads(content)["error"]
        assert (status, error["code"], error["type"]) == (406, 406, "UnsupportedOperationException"), path
        assert "SQL" in error["message"]
    with pytest.raises(NotImplementedError):
        pyiceberg_catalog.drop_table(("default", "sales"))
    status, _, content = served.request("GET", "/iceberg/v1/nothing")
    assert status == 404 and json.loads(content)["error"]["code"] == 404
    assert pyiceberg_catalog.table_exists(("default", "sales"))


def test_the_endpoints_that_are_told_are_there(served):
    with urllib.request.urlopen(served.server.url("/iceberg/v1/config?warehouse=any")) as answer:
        config = json.load(answer)
    for endpoint in config["endpoints"]:
        method, path = endpoint.split(" ")
        path = path.replace("/v1/{prefix}/", "/iceberg/v1/").replace("{namespace}", "default").replace("{table}", "sales")
        assert served.request(method, path)[0] in (200, 204), endpoint
