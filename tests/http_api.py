"""Talks to the HTTP API of `frazil server`."""

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
    def __init__(self, server):
        self.server = server

    def request(self, method, path, body=None, headers=()):
        """Status, headers and bytes of an answer, whatever it is."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json", **dict(headers)} if data is not None else dict(headers)
        request = urllib.request.Request(self.server.url(path), data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, answer.headers, answer.read()
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
