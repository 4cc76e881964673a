"""A warehouse in an S3-compatible store: the example runs there, is killed and goes on, and PyIceberg reads it there."""

import os
import socket
import subprocess
import sys
import time
from collections import Counter

import boto3
import pytest
from pyiceberg.catalog.sql import SqlCatalog

import flights
from frazil import PATIENCE, binary, difference, wait_until

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def endpoint():
    """An emulated S3 on a free port of this machine, with one bucket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )

        def created():
            try:
                return client.create_bucket(Bucket="lake")
            except Exception:
                return None

        wait_until(created, "the emulated S3 answers", 60)
        yield url
    finally:
        server.terminate()
        server.wait()


def test_the_example_runs_in_s3(endpoint, tmp_path, oracle):
    warehouse = f"s3://lake/flights?catalog={tmp_path / 'catalog.db'}"
    environment = {**os.environ, **KEYS, "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true"}
    command = [binary(), "run", str(flights.SQL), "-w", warehouse, "--commit-interval", "100ms"]
    killed = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.7)
    killed.kill()
    killed.wait()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr

    count = [binary(), "-w", warehouse, "--format", "csv", "-c", "SELECT COUNT(*) FROM flights_clean"]
    counted = subprocess.run(count, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert counted.stdout.split() == ["count(*)", "27004"], counted.stderr

    properties = {"s3.endpoint": endpoint, "s3.access-key-id": "test", "s3.secret-access-key": "test"}
    catalog = SqlCatalog("frazil", uri=f"sqlite:///{tmp_path / 'catalog.db'}", **properties, **{"s3.region": "us-east-1"})
    for layer in flights.LAYERS:
        arrow = catalog.load_table(f"default.{layer}").scan().to_arrow()
        rows = Counter(zip(*(column.to_pylist() for column in arrow.columns)))
        assert difference(rows, oracle[layer][1]) == "", layer
