"""Talks to the HTTP API of `frazil server`."""

import base64
import itertools
import json
import urllib.error
import urllib.parse
import urllib.request

from frazil import PATIENCE, wait_until


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status, body):
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body
        self.error = body["error"]


class Api:
    def __init__(self, server, user=None, password=None):
        self.server = server
        self.login = {}
        if user is not None:
            self.login["authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def request(self, method, path, body=None, headers=()):
        """Status, headers and bytes of an answer, whatever it is: of a stream of events the first. A body that is not bytes is sent as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {**self.login, **({"content-type": "application/json"} if data is not None else {}), **dict(headers)}
        request = urllib.request.Request(self.server.url(path), data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE, context=self.server.trust) as answer:
                endless = answer.headers.get_content_type() == "text/event-stream"
                content = b"".join(itertools.takewhile(bytes.strip, answer)) if endless else answer.read()
                return answer.status, answer.headers, content
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def json(self, method, path, body=None):
        status, headers, content = self.request(method, path, body)
        assert headers.get_content_type() == "application/json", (status, content)
        answer = json.loads(content)
        if status >= 400:
            raise Refused(status, answer)
        return answer

    def get(self, path):
        return self.json("GET", path)

    def post(self, path, body=None):
        return self.json("POST", path, body)

    def sql(self, sql, **more):
        """The results of statements."""
        return self.post("/api/v1/statements", {"sql": sql, **more})["results"]

    def rows(self, query):
        return self.sql(query)[-1]["rows"]

    def job(self, name):
        return self.get(f"/api/v1/jobs/{urllib.parse.quote(name)}")

    def control(self, name, verb):
        return self.post(f"/api/v1/jobs/{urllib.parse.quote(name)}/{verb}")

    def wait_for_rows(self, query, rows):
        wait_until(lambda: self.rows(query) == rows, f"{query} gives {rows}")
