#!/usr/bin/env python3
"""Compares Nexmark queries on three worker processes with the same in one process of three tasks.

    cargo build --release --workspace --bins
    python3 benches/exchange.py target/release/frazil [--events 5000000] [--queries q4 q5 q7 q8]

Each query is a view over generated events, and is timed from its submission to the commit that has read all of them. Both ways are run
in turn. Only the standard library is needed.
"""

import argparse
import pathlib
import subprocess
import tempfile
import time

from failover import Cluster

HERE = pathlib.Path(__file__).resolve().parent
TABLES = {
    "person": "id BIGINT, name VARCHAR, email_address VARCHAR, credit_card VARCHAR, city VARCHAR, state VARCHAR, date_time TIMESTAMP(3), extra VARCHAR",
    "auction": "id BIGINT, item_name VARCHAR, description VARCHAR, initial_bid BIGINT, reserve BIGINT, date_time TIMESTAMP(3), expires TIMESTAMP(3), seller BIGINT, category BIGINT, extra VARCHAR",
    "bid": "auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP(3), extra VARCHAR",
}


def statements(query, events):
    tables = "".join(
        f"CREATE TABLE {name} ({columns}, WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND)"
        f" WITH ('connector' = 'nexmark', 'table' = '{name}', 'events.num' = '{events}');\n"
        for name, columns in TABLES.items()
    )
    return f"{tables}CREATE MATERIALIZED VIEW result AS {(HERE / 'nexmark' / f'{query}.sql').read_text()};\n"


def in_one_process(binary, directory, text):
    path = directory / "job.sql"
    path.write_text(text)
    began = time.monotonic()
    command = [binary, "run", str(path), "-w", str(directory / "warehouse"), "--parallelism", "3"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - began


def on_workers(binary, directory, text):
    cluster = Cluster(binary, directory, 3)
    try:
        began = time.monotonic()
        cluster.submit(text)
        while any(job["status"] != "finished" for job in cluster.get("/api/v1/jobs")["jobs"]):
            time.sleep(0.02)
        return time.monotonic() - began
    finally:
        cluster.close()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("binary", type=pathlib.Path)
    arguments.add_argument("--events", type=int, default=5_000_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--queries", nargs="+", default=["q4", "q5", "q7", "q8"])
    arguments = arguments.parse_args()
    binary = str(arguments.binary.absolute())
    print("| query | one process, s | three workers, s | ratio |\n| --- | --- | --- | --- |")
    for query in arguments.queries:
        text = statements(query, arguments.events)
        best = {}
        for _ in range(arguments.rounds):
            for way in (in_one_process, on_workers):
                with tempfile.TemporaryDirectory(prefix="frazil-exchange-") as directory:
                    took = way(binary, pathlib.Path(directory), text)
                best[way] = min(took, best.get(way, took))
        one, three = best[in_one_process], best[on_workers]
        print(f"| {query} | {one:.1f} | {three:.1f} | {three / one:.2f} |", flush=True)


if __name__ == "__main__":
    main()
