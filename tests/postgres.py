"""Runs a PostgreSQL server of its own, in a temporary directory, on a free port of this machine."""

import os
import pathlib
import shutil
import subprocess
import tempfile

from certificates import certificate
from server import free_port

USER, PASSWORD = "frazil", "s3cret-pass"


def program(name):
    """Debian keeps the programs of every version in a directory of its own, outside the PATH."""
    versions = sorted(pathlib.Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return str(versions[-1]) if versions else shutil.which(name)


class Postgres:
    """A running server that wants a password and can encrypt; it can crash and be started again."""

    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="postgres"))
        self.data = self.directory / "data"
        self.port = free_port()
        password = self.directory / "password"
        password.write_text(PASSWORD)
        self.certificate, self.key = map(pathlib.Path, certificate(self.directory))
        self.key.chmod(0o600)
        if os.getuid() == 0:
            # It refuses to run as root.
            for path in [self.directory, *self.directory.iterdir()]:
                shutil.chown(path, "nobody")
        self.call("initdb", "-U", USER, "-A", "scram-sha-256", "--pwfile", password, "-E", "UTF8", "--locale=C", "--no-sync")
        self.start()

    def start(self):
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.directory,
            "ssl": "on",
            "ssl_cert_file": self.certificate,
            "ssl_key_file": self.key,
        }
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        self.call("pg_ctl", "-w", "-l", self.directory / "log", "-o", options, "start")

    def crash(self):
        """In the midst of whatever it does, as a loss of power would."""
        self.call("pg_ctl", "-w", "-m", "immediate", "stop")

    def stop(self):
        self.crash()
        shutil.rmtree(self.directory)

    def call(self, name, *arguments):
        user = ["runuser", "-u", "nobody", "--"] if os.getuid() == 0 else []
        command = [*user, program(name), "-D", str(self.data), *map(str, arguments)]
        # Not into a pipe: the server would keep it open.
        with open(self.directory / "told", "ab") as told:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=told, stderr=told, cwd="/")
        assert done.returncode == 0, (self.directory / "told").read_text()

    def url(self, schema="frazil", password=PASSWORD, **parameters):
        """As `--catalog` takes it."""
        query = "&".join(f"{name}={value}" for name, value in {"schema": schema, **parameters}.items())
        return f"postgres://{USER}:{password}@127.0.0.1:{self.port}/postgres?{query}"

    def alchemy(self, schema="frazil"):
        """As SQLAlchemy takes it, and so PyIceberg."""
        return f"postgresql+psycopg://{USER}:{PASSWORD}@127.0.0.1:{self.port}/postgres?options=-csearch_path%3D{schema}"
