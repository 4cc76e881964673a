"""Options and fixtures of the tests from outside."""

import pytest

import flights
from frazil import Warehouse
from server import Server


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=5, help="kills per job in the exactly-once tests")
    parser.addoption("--reads", type=int, default=60, help="comparing queries in the consistency test")
    parser.addoption("--chaos", type=int, default=20, help="seconds for which the cluster is disturbed")
    parser.addoption("--soak", type=int, default=0, help="seconds that the test of the number of files may take")
    parser.addoption("--screenshots", help="a directory for pictures of the page; by default they go with the other temporary files")
    parser.addoption("--seed", type=int, default=1, help="decides when kills happen")


@pytest.fixture(scope="session")
def oracle():
    """Every layer of the example as DuckDB computes it: name -> (column types, rows)."""
    return flights.oracle()


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A warehouse in which the example ran undisturbed to its end."""
    warehouse = Warehouse(tmp_path_factory.mktemp("finished") / "warehouse")
    warehouse.run_to_end(flights.SQL)
    return warehouse


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    assert server.stop() == 0
