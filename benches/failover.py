#!/usr/bin/env python3
"""Measures for how long a cluster's results stand still when a worker dies, hangs, leaves or joins.

    cargo build --release --workspace --bins
    python3 benches/failover.py target/release/frazil [--rounds 10] [--keys 1000000] [--rate 20000]

A view groups rows by a million keys, fed at 20,000 rows/s and committed every second, on three workers with a slot each. A second job
runs beside it. What is measured is the longest time between two commits of a job around the event, and how much that is more than the
longest one before: the median of all rounds, and the worst. Only the standard library is needed.
"""

import argparse
import json
import pathlib
import random
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request

COMMIT = 1.0
LOAD = """
CREATE TABLE history (k BIGINT, v BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '{keys}',
  'fields.k.kind' = 'sequence', 'fields.k.start' = '0', 'fields.k.end' = '{last}',
  'fields.v.kind' = 'sequence', 'fields.v.start' = '0', 'fields.v.end' = '{last}');
CREATE TABLE live (k BIGINT, v BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '{rate}',
  'fields.k.kind' = 'random', 'fields.k.min' = '0', 'fields.k.max' = '{last}',
  'fields.v.kind' = 'sequence', 'fields.v.start' = '0', 'fields.v.end' = '1000000000000');
CREATE MATERIALIZED VIEW by_key AS
  SELECT k, COUNT(*) AS n, SUM(v) AS s FROM (SELECT k, v FROM history UNION ALL SELECT k, v FROM live) GROUP BY k;
SET parallelism.max = 1;
CREATE TABLE beside (v BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '1000',
  'fields.v.kind' = 'sequence', 'fields.v.start' = '0', 'fields.v.end' = '1000000000000');
CREATE MATERIALIZED VIEW other AS SELECT COUNT(*) AS n FROM beside;
"""


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Cluster:
    def __init__(self, binary, directory, workers, options=()):
        self.binary, self.directory = binary, directory
        self.http, self.join = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http}"
        command = ["coordinator", "-w", str(directory / "warehouse"), "--commit-interval", f"{COMMIT}s"]
        command += ["--listen", f"127.0.0.1:{self.join}", "--pg", f"127.0.0.1:{free_port()}", "--http", f"127.0.0.1:{self.http}", *options]
        self.processes = [self.run("coordinator", *command)]
        self.started = 0
        self.workers = [self.worker() for _ in range(workers)]
        self.wait_for_workers(workers)

    def run(self, name, *command):
        with open(self.directory / f"{name}.log", "ab") as log:
            return subprocess.Popen([self.binary, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def worker(self):
        self.started += 1
        command = ["worker", "--coordinator", f"127.0.0.1:{self.join}", "--slots", "1"]
        worker = self.run(f"worker{self.started}", *command)
        self.processes.append(worker)
        return worker

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.load(answer)

    def wait_for_workers(self, count):
        deadline = time.monotonic() + 60
        while True:
            try:
                if len(self.get("/api/v1/workers")["workers"]) == count:
                    return
            except OSError:
                pass
            assert time.monotonic() < deadline, f"there are not {count} workers"
            time.sleep(0.05)

    def commits(self, job):
        """When its newest checkpoints were committed, in s, the oldest first."""
        checkpoints = self.get(f"/api/v1/jobs/{job}/checkpoints")["checkpoints"]
        return sorted(checkpoint["committed_ms"] / 1000 for checkpoint in checkpoints)

    def submit(self, text):
        path = self.directory / "job.sql"
        path.write_text(text)
        subprocess.run([self.binary, "submit", "-s", self.url, str(path)], check=True, stdout=subprocess.DEVNULL)

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
        # What the coordinator started ends when it has ended.
        time.sleep(0.5)


def longest(times, start, end):
    inside = [at for at in times if start - 2 * COMMIT - 1 <= at <= end]
    return max((later - earlier for earlier, later in zip(inside, inside[1:])), default=float("nan"))


def round_of(cluster, event):
    """Lets one thing happen; gives the longest gap of both jobs, before and around it."""
    before = time.time()
    # Not always at the same moment between two commits.
    time.sleep(5 + random.random() * COMMIT)
    at = time.time()
    undo = event(cluster)
    time.sleep(9)
    end = time.time()
    gaps = []
    for job in ("by_key", "other"):
        times = cluster.commits(job)
        gaps.append((longest(times, before + 2 * COMMIT + 1, at), longest(times, at, end)))
    undo()
    time.sleep(4)
    return gaps


def kill(cluster):
    victim = cluster.workers.pop(0)
    victim.kill()
    return lambda: replace(cluster)


def hang(cluster):
    victim = cluster.workers[0]
    victim.send_signal(signal.SIGSTOP)

    def undo():
        victim.send_signal(signal.SIGCONT)
        cluster.wait_for_workers(3)

    return undo


def drain(cluster):
    cluster.workers.pop(0).terminate()
    return lambda: replace(cluster)


def replace(cluster):
    cluster.workers.append(cluster.worker())
    cluster.wait_for_workers(3)


def join(cluster):
    cluster.workers.append(cluster.worker())

    def undo():
        cluster.workers.pop().terminate()
        cluster.wait_for_workers(3)

    return undo


EVENTS = {"SIGKILL of a worker": kill, "SIGSTOP of a worker": hang, "a worker leaves": drain, "a worker joins": join}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("binary", type=pathlib.Path)
    arguments.add_argument("--rounds", type=int, default=10)
    arguments.add_argument("--keys", type=int, default=1_000_000)
    arguments.add_argument("--rate", type=int, default=20_000)
    arguments = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="frazil-failover-") as directory:
        cluster = Cluster(str(arguments.binary.absolute()), pathlib.Path(directory), 3)
        try:
            cluster.submit(LOAD.format(keys=arguments.keys, last=arguments.keys - 1, rate=arguments.rate))
            time.sleep(8)
            print("| event | median gap, s | worst | gap before | other job: median | before |\n| --- | --- | --- | --- | --- | --- |")
            for name, event in EVENTS.items():
                rounds = [round_of(cluster, event) for _ in range(arguments.rounds)]
                job = [gaps[0] for gaps in rounds]
                other = [gaps[1] for gaps in rounds]
                median = lambda numbers: statistics.median(list(numbers))
                columns = [median(g for _, g in job), max(g for _, g in job), median(b for b, _ in job)]
                columns += [median(g for _, g in other), median(b for b, _ in other)]
                print(f"| {name} | " + " | ".join(f"{number:.2f}" for number in columns) + " |", flush=True)
        finally:
            cluster.close()


if __name__ == "__main__":
    main()
