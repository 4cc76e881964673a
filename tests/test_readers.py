"""Every layer of the example, read by three programs, equals what DuckDB computes from the same files."""

from collections import Counter

import pytest
from pyiceberg.catalog.sql import SqlCatalog

import flights
from duck import duckdb_with
from frazil import difference


@pytest.mark.parametrize("layer", flights.LAYERS)
def test_frazil_reads_what_duckdb_computes(finished, oracle, layer):
    types, wanted = oracle[layer]
    assert difference(finished.table(layer, types), wanted) == ""


@pytest.mark.parametrize("layer", flights.LAYERS)
def test_pyiceberg_reads_what_duckdb_computes(finished, oracle, layer):
    catalog = SqlCatalog("frazil", uri=f"sqlite:///{finished.path}/catalog.db")
    assert sorted(table[-1] for table in catalog.list_tables("default")) == sorted(flights.LAYERS)
    arrow = catalog.load_table(f"default.{layer}").scan().to_arrow()
    rows = Counter(zip(*(column.to_pylist() for column in arrow.columns)))
    assert difference(rows, oracle[layer][1]) == ""


@pytest.mark.parametrize("layer", flights.LAYERS)
def test_duckdb_reads_what_it_computes_itself(finished, oracle, layer):
    location = finished.metadata_location(layer)
    _, rows = flights.contents(duckdb_with("avro", "iceberg"), f"SELECT * FROM iceberg_scan('{location}')")
    assert difference(rows, oracle[layer][1]) == ""


def test_a_second_run_changes_nothing(finished, oracle):
    before = {layer: finished.metadata_location(layer) for layer in flights.LAYERS}
    finished.run_to_end(flights.SQL, parallelism=3)
    for layer in flights.LAYERS:
        types, wanted = oracle[layer]
        assert difference(finished.table(layer, types), wanted) == ""
        assert finished.metadata_location(layer) == before[layer]


def test_counts_of_the_third_layer_are_the_rows_of_the_second(finished):
    ((counted, rows),) = finished.query(
        "SELECT (SELECT SUM(scheduled) FROM hourly_departures), (SELECT COUNT(*) FROM flights_clean)"
    )
    assert counted == rows == "27004"
