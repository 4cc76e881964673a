"""Runs `frazil coordinator` and `frazil worker`, each a process of its own, on one machine."""

import os
import signal
import subprocess
import time
import urllib.request

import psycopg

from frazil import PATIENCE, binary
from server import free_port


# What members of a network must know, since other machines could reach it.
SECRET = "between us"


class Process:
    """A program that writes a log."""

    def __init__(self, command, log):
        self.log_path = log
        with open(log, "ab") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def log(self):
        return self.log_path.read_text()

    def is_alive(self):
        return self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE)

    def stop(self):
        """SIGTERM; gives the exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE)


class Coordinator(Process):
    """A coordinator. Several may share a warehouse: one leads."""

    # Its HTTP is not encrypted.
    trust = None

    def __init__(self, directory, name="coordinator", address=None, options=()):
        self.port, self.http_port = free_port(), free_port()
        self.address = address or f"127.0.0.1:{free_port()}"
        command = [binary(), "coordinator", "-w", str(directory / "warehouse"), "--commit-interval", "200ms"]
        command += ["--pg", f"127.0.0.1:{self.port}", "--http", f"127.0.0.1:{self.http_port}"]
        command += ["--listen", self.address, *options]
        super().__init__(command, directory / f"{name}.log")

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/ready", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def url(self, path=""):
        return f"http://127.0.0.1:{self.http_port}{path}"

    def connect(self, **options):
        return psycopg.connect(f"host=127.0.0.1 port={self.port} dbname=frazil user=tester", autocommit=True, **options)

    def rows(self, sql):
        with self.connect() as connection:
            return connection.execute(sql).fetchall()


class Cluster:
    """Coordinators and workers; `leader` is the coordinator that answers. With a `network` workers are members of it."""

    def __init__(self, directory, workers=3, slots=1, coordinators=1, options=(), network=None):
        self.directory = directory
        self.slots = slots
        self.network = network
        self.coordinator_options = options
        self.started = 0
        self.coordinators, self.workers = [], []
        # Where workers look for the one that leads.
        self.addresses = []
        for _ in range(coordinators):
            self.add_coordinator()
        for _ in range(workers):
            self.add_worker()
        self.wait_for_workers(workers)

    def add_coordinator(self, address=None):
        self.started += 1
        options = self.coordinator_options
        if self.network:
            address = address or f"{self.network.host}:{free_port()}"
            options = (*options, "--cluster-secret", SECRET)
        coordinator = Coordinator(self.directory, f"coordinator{self.started}", address, options)
        self.coordinators.append(coordinator)
        if coordinator.address not in self.addresses:
            self.addresses.append(coordinator.address)

    def revive_coordinator(self):
        """One where another one was, which is dead."""
        living = {coordinator.address for coordinator in self.coordinators}
        self.add_coordinator(next(address for address in self.addresses if address not in living))

    def add_worker(self):
        self.started += 1
        command = [binary(), "worker", "--coordinator", ",".join(self.addresses), "--slots", str(self.slots)]
        member = None
        if self.network:
            member, address = self.network.join()
            command = ["ip", "netns", "exec", member, *command, "--listen", f"{address}:0", "--cluster-secret", SECRET]
        worker = Process(command, self.directory / f"worker{self.started}.log")
        worker.member = member
        self.workers.append(worker)
        return worker

    @property
    def leader(self):
        return self.find_leader()

    def find_leader(self, patience=PATIENCE):
        deadline = time.monotonic() + patience
        while True:
            for coordinator in self.coordinators:
                if coordinator.is_ready():
                    return coordinator
            assert time.monotonic() < deadline, "no coordinator leads:\n" + self.logs()
            time.sleep(0.02)

    def rows(self, sql):
        return self.leader.rows(sql)

    def execute(self, text):
        """Statements one by one, as a shell sends them."""
        with self.leader.connect() as connection:
            connection.execute(text)

    def submit(self, path):
        url = f"http://127.0.0.1:{self.leader.http_port}"
        subprocess.run([binary(), "submit", "-s", url, str(path)], check=True, capture_output=True, timeout=PATIENCE)

    def wait_for_workers(self, count):
        self.wait(lambda: len(self.rows("SHOW WORKERS")) == count, f"{count} workers have joined")

    def wait(self, condition, what, patience=PATIENCE):
        deadline = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < deadline, f"not in time: {what}\n{self.logs()}"
            time.sleep(0.05)

    def wait_until_finished(self, *jobs):
        def finished():
            status = {row[0]: (row[2], row[-2]) for row in self.rows("SHOW JOBS")}
            assert all(status[job][0] != "failed" for job in jobs), status
            return all(status[job][0] == "finished" for job in jobs)

        self.wait(finished, f"{jobs} have ended")

    def logs(self):
        return "\n".join(f"{p.log_path.name}:\n{p.log()[-1500:]}" for p in [*self.coordinators, *self.workers])

    def close(self):
        """Ends everything as an operator would: coordinators first, which take a last checkpoint."""
        for process in [*self.coordinators, *self.workers]:
            if process.is_alive():
                # One that is stopped would not hear of anything else.
                os.kill(process.process.pid, signal.SIGCONT)
        for process in [*self.coordinators, *self.workers]:
            if process.is_alive():
                process.signal(signal.SIGTERM)
        for process in [*self.coordinators, *self.workers]:
            try:
                process.process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
