"""Runs `frazil server`."""

import socket
import ssl
import subprocess
import time
import urllib.request

import psycopg

from frazil import PATIENCE, binary


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Server:
    """A running server; it can be killed and started again on the same warehouse and ports."""

    def __init__(self, directory, *options, pg="127.0.0.1", http="127.0.0.1"):
        self.directory = directory
        self.options = options
        self.addresses = pg, http
        certificates = [option for name, option in zip(options, options[1:]) if name == "--tls-cert"]
        self.trust = ssl.create_default_context(cafile=certificates[0]) if certificates else None
        self.port = free_port()
        self.http_port = free_port()
        self.start()

    def start(self):
        command = [binary(), "server", "-w", str(self.directory / "warehouse"), "--commit-interval", "100ms"]
        pg, http = self.addresses
        command += ["--pg", f"{pg}:{self.port}", "--http", f"{http}:{self.http_port}", *self.options]
        self.log = open(self.directory / "server.log", "ab")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + PATIENCE
        while not self.is_ready():
            assert self.process.poll() is None, self.errors()
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.05)

    def is_ready(self):
        try:
            with urllib.request.urlopen(self.url("/ready"), timeout=PATIENCE, context=self.trust) as answer:
                return answer.status == 200
        except OSError:
            return False

    def url(self, path=""):
        return f"{'https' if self.trust else 'http'}://127.0.0.1:{self.http_port}{path}"

    def connect(self, user="tester", **options):
        return psycopg.connect(f"host=127.0.0.1 port={self.port} dbname=frazil", user=user, **options)

    def errors(self):
        return (self.directory / "server.log").read_text()[-4000:]

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE)
        self.log.close()

    def stop(self):
        self.process.terminate()
        code = self.process.wait(PATIENCE)
        self.log.close()
        return code
