"""DuckDB with extensions that come from the same package index as itself: nothing is downloaded."""

import importlib
import pathlib

import duckdb


def duckdb_with(*extensions):
    db = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    for name in extensions:
        package = importlib.import_module(f"duckdb_extension_{name}")
        (file,) = pathlib.Path(package.__path__[0]).glob(f"extensions/*/{name}.duckdb_extension")
        db.execute(f"LOAD '{file}'")
    return db
