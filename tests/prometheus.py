"""Prometheus: its text format, and the program itself as Debian packages it."""

import json
import pathlib
import re
import subprocess
import time
import urllib.parse
import urllib.request

from frazil import PATIENCE, ROOT
from server import free_port

SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)')
ESCAPE = {"n": "\n", '"': '"', "\\": "\\"}


def parse(text):
    """Samples of a scrape: (name, labels as a frozenset of pairs) -> value. And the types of the metrics by name."""
    samples, types = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types, f"{name} is described twice"
            types[name] = kind
        elif line and not line.startswith("#"):
            name, labels, value = SAMPLE.match(line).groups()
            pairs = LABEL.findall(labels or "")
            assert "".join(f'{k}="{v}",' for k, v in pairs).rstrip(",") == (labels or ""), line
            unescaped = ((k, re.sub(r"\\(.)", lambda m: ESCAPE[m.group(1)], v)) for k, v in pairs)
            key = (name, frozenset(unescaped))
            assert key not in samples, f"{line} comes twice"
            samples[key] = float(value)
    return samples, types


class Scrape:
    """The metrics of a server at one moment."""

    def __init__(self, server, accept="text/plain"):
        request = urllib.request.Request(server.url("/metrics"), headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            self.content_type = answer.headers["Content-Type"]
            self.text = answer.read().decode()
        self.samples, self.types = parse(self.text)

    def all(self, name, **labels):
        """Values by labels of every sample that has these labels."""
        wanted = set(labels.items())
        return {found: value for (n, found), value in self.samples.items() if n == name and wanted <= found}

    def value(self, name, **labels):
        """The value of the only sample that has these labels."""
        (value,) = self.all(name, **labels).values()
        return value

    def counters(self):
        """Everything that must never fall."""
        kinds = {name for name, kind in self.types.items() if kind == "counter"}
        kinds |= {f"{name}_{part}" for name, kind in self.types.items() if kind == "histogram" for part in ("sum", "count", "bucket")}
        return {key: value for key, value in self.samples.items() if key[0] in kinds}


class Prometheus:
    """Prometheus as it scrapes a server by deploy/prometheus.yml, only faster and at the server's port."""

    def __init__(self, directory, server):
        config = (ROOT / "deploy" / "prometheus.yml").read_text()
        assert "127.0.0.1:8080" in config and "scrape_interval: 15s" in config
        config = config.replace("127.0.0.1:8080", f"127.0.0.1:{server.http_port}").replace("scrape_interval: 15s", "scrape_interval: 1s")
        self.config = pathlib.Path(directory) / "prometheus.yml"
        self.config.write_text(config)
        self.port = free_port()
        self.log = open(pathlib.Path(directory) / "prometheus.log", "wb")
        command = ["prometheus", f"--config.file={self.config}", f"--web.listen-address=127.0.0.1:{self.port}"]
        command.append(f"--storage.tsdb.path={directory}/prometheus")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def get(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}?{query}", timeout=PATIENCE) as answer:
            body = json.load(answer)
        assert body["status"] == "success", body
        return body["data"]

    def query(self, expression):
        """The series that an expression gives now."""
        try:
            return self.get("query", query=expression)["result"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read().decode()}") from error

    def target(self):
        """The server as Prometheus sees it, once it was scraped."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                (target,) = self.get("targets")["activeTargets"]
                if target["health"] != "unknown":
                    return target
            except (OSError, ValueError):
                assert self.process.poll() is None, pathlib.Path(self.log.name).read_text()[-2000:]
            time.sleep(0.1)
        raise AssertionError("Prometheus does not scrape")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.log.close()
