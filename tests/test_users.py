"""Users: passwords, grants, ownership, over the PostgreSQL protocol, HTTP and the Iceberg catalog; with and without TLS."""

import asyncio
import json
import os
import random
import re
import socket
import subprocess
import threading
import urllib.parse

import asyncpg
import psycopg
import pytest
from psycopg import errors, sql
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import ForbiddenError, OAuthError

from certificates import certificate
from duck import duckdb_with
from frazil import PATIENCE, binary
from http_api import Api, Refused
from server import Server

ROOT = "r00t of all"
PASSWORDS = {"root": ROOT, "ann": "ann's pässword", "bob": "b:b"}


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """A server with a superuser, with ann who may create, and with bob who may nothing."""
    server = Server(tmp_path_factory.mktemp("users"))
    with server.connect(autocommit=True) as first:
        notices = []
        first.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        with pytest.raises(errors.SyntaxError, match="superuser"):
            first.execute("CREATE USER ann PASSWORD 'x'")
        first.execute(f"CREATE USER root SUPERUSER PASSWORD '{ROOT}'")
        assert "every connection needs a user" in notices[-1]
        # It goes on as root.
        for name in ("ann", "bob"):
            first.execute(sql.SQL("CREATE USER {} WITH LOGIN PASSWORD {}").format(sql.Identifier(name), PASSWORDS[name]))
        first.execute("GRANT CREATE ON SCHEMA public TO ann")
    yield server
    assert server.stop() == 0


@pytest.fixture
def as_user(secured):
    opened = []

    def connect(name, **options):
        opened.append(secured.connect(user=name, password=PASSWORDS[name], autocommit=True, **options))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def prices(as_user):
    """A table of ann's with a plain and a materialized view, and one that has a key."""
    ann = as_user("ann")
    ann.execute("CREATE TABLE prices (k BIGINT, price BIGINT)")
    ann.execute("CREATE TABLE keyed (k BIGINT PRIMARY KEY, price BIGINT)")
    ann.execute("CREATE VIEW cheap AS SELECT k FROM prices WHERE price < 10")
    ann.execute("CREATE MATERIALIZED VIEW total AS SELECT CAST(sum(price) AS BIGINT) AS total FROM prices")
    ann.execute("INSERT INTO prices VALUES (1, 5), (2, 50)")
    ann.execute("FLUSH")
    yield ann
    # The server may have been killed meanwhile.
    for table in ("prices", "keyed"):
        as_user("ann").execute(f"DROP TABLE {table} CASCADE")


def refused(connection, statement, match="permission denied"):
    with pytest.raises(errors.InsufficientPrivilege, match=match):
        connection.execute(statement)


@pytest.mark.parametrize(
    "user, password", [("root", "wrong"), ("root", ""), ("root", None), ("nobody", ROOT), ("", ROOT), ("ann", ROOT)]
)
def test_a_wrong_password_stays_outside(secured, user, password):
    with pytest.raises(psycopg.OperationalError) as refusal:
        secured.connect(user=user or "'", password=password)
    assert re.search("password authentication failed|no password supplied|user name", str(refusal.value)), refusal.value


def test_who_does_not_exist_is_asked_like_everybody(secured):
    """The salt of a name is always the same, whether there is such a user or not, and so are the iterations."""

    def first_answer(user):
        with socket.create_connection(("127.0.0.1", secured.port), timeout=PATIENCE) as client:
            start = b"\0\x03\0\0user\0" + user.encode() + b"\0\0"
            client.sendall((len(start) + 4).to_bytes(4, "big") + start)
            assert client.recv(4096)[:1] == b"R"
            scram = b"n,,n=,r=abcdefghijklmnop"
            body = b"SCRAM-SHA-256\0" + len(scram).to_bytes(4, "big") + scram
            client.sendall(b"p" + (len(body) + 4).to_bytes(4, "big") + body)
            answer = client.recv(4096)
            assert answer[:1] == b"R", answer
            return re.search(rb"s=([^,]+),i=(\d+)", answer).groups()

    for user in ("root", "nobody", "somebody"):
        assert first_answer(user) == first_answer(user)
    assert len({first_answer(user)[0] for user in ("root", "nobody", "somebody")}) == 3
    assert {first_answer(user)[1] for user in ("root", "nobody")} == {b"4096"}


def test_malformed_proofs_are_refused(secured):
    """Whatever is sent where a proof belongs, the server says no and goes on."""
    rng = random.Random(3)
    first = b"SCRAM-SHA-256\0\0\0\0\x16n,,n=,r=abcdefghijklmn"
    bodies = 5 * [first] + [b"", b"\0", b"SCRAM-SHA-256", b"PLAIN\0\0\0\0\0", b"SCRAM-SHA-256\0\xff\xff\xff\xff"]
    bodies += [b"SCRAM-SHA-256\0" + len(text).to_bytes(4, "big") + text for text in (b"", b"n,,", b"y,,n=,r=", b"p=x,,n=a,r=b", b"n,,n=a=,r=b")]
    bodies += [rng.randbytes(rng.randrange(200)) for _ in range(100)]
    for body in bodies:
        with socket.create_connection(("127.0.0.1", secured.port), timeout=PATIENCE) as client:
            start = b"\0\x03\0\0user\0root\0\0"
            client.sendall((len(start) + 4).to_bytes(4, "big") + start)
            assert client.recv(4096)[:1] == b"R"
            client.sendall(b"p" + (len(body) + 4).to_bytes(4, "big") + body)
            answer = client.recv(4096)
            proofs = [b"", b"c=biws", b"c=biws,r=abc,p=!", b"c=biws,r=abcdefghijklmn,p=" + b"A" * 43 + b"=", rng.randbytes(50)]
            while answer[:1] == b"R" and proofs:
                assert int.from_bytes(answer[5:9], "big") == 11, answer
                proof = proofs.pop(rng.randrange(len(proofs)))
                client.sendall(b"p" + (len(proof) + 4).to_bytes(4, "big") + proof)
                answer = client.recv(4096)
            assert answer[:1] in (b"E", b""), (body, answer)
    secured.connect(user="root", password=ROOT).close()
    assert "panicked" not in secured.errors()


def test_many_wrong_passwords_disturb_nobody(secured, as_user):
    ann = as_user("ann")
    outcomes = []

    def attempt():
        for _ in range(10):
            try:
                secured.connect(user="ann", password="guess").close()
                outcomes.append("in")
            except psycopg.OperationalError:
                outcomes.append("out")

    guessers = [threading.Thread(target=attempt) for _ in range(20)]
    [guesser.start() for guesser in guessers]
    for n in range(20):
        assert ann.execute("SELECT %s::BIGINT", (n,)).fetchone() == (n,)
    [guesser.join(PATIENCE) for guesser in guessers]
    assert outcomes == ["out"] * 200


def test_drivers_prove_their_passwords(secured):
    async def through_asyncpg():
        connection = await asyncpg.connect(
            host="127.0.0.1", port=secured.port, user="ann", password=PASSWORDS["ann"], database="frazil"
        )
        found = await connection.fetchval("SELECT current_user")
        await connection.close()
        return found

    assert asyncio.run(through_asyncpg()) == "ann"
    command = ["psql", "-X", "-At", "-h", "127.0.0.1", "-p", str(secured.port), "-U", "ann", "frazil"]
    environment = {**os.environ, "PGPASSWORD": PASSWORDS["ann"]}
    run = lambda text: subprocess.run([*command, "-c", text], env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert run("SELECT session_user").stdout == "ann\n"
    assert "root" in run(r"\du").stdout
    assert run("SELECT rolname, rolsuper FROM pg_roles ORDER BY 1").stdout == "ann|f\nbob|f\nroot|t\n"


def test_what_is_not_granted_is_refused(prices, as_user):
    bob, root = as_user("bob"), as_user("root")
    statements = [
        ("SELECT", "SELECT * FROM prices", "SELECT * FROM cheap, prices"),
        ("INSERT", "INSERT INTO prices VALUES (3, 3)"),
        ("TRUNCATE", "TRUNCATE prices"),
    ]
    for privilege, *texts in statements:
        for text in texts:
            refused(bob, text)
    refused(bob, "UPDATE prices SET price = 1")
    refused(bob, "DELETE FROM prices")
    refused(bob, "COPY prices TO STDOUT")
    refused(bob, "SUBSCRIBE TO total")
    refused(bob, "VERIFY MATERIALIZED VIEW total")
    refused(bob, "CREATE TABLE own (k BIGINT)", "create")
    refused(bob, "DROP TABLE prices CASCADE", "belongs to another")
    refused(bob, "PAUSE JOB total", "belongs to another")
    refused(bob, "GRANT SELECT ON prices TO bob", "belongs to another")
    refused(bob, "CREATE USER eve PASSWORD 'x'")
    refused(bob, "ALTER USER bob SUPERUSER")
    # Names are no secret, rows are.
    assert bob.execute("DESCRIBE prices").fetchall()[0][0] == "k"
    refused(bob, "EXPLAIN SELECT * FROM prices")
    with pytest.raises(errors.InsufficientPrivilege):
        bob.execute("SELECT * FROM prices WHERE k = %s", (1,), prepare=True)

    prices.execute("GRANT SELECT ON cheap, total TO bob")
    assert bob.execute("SELECT * FROM cheap").fetchall() == [(1,)]
    assert bob.execute("SELECT total FROM total").fetchall() == [(55,)]
    refused(bob, "SELECT * FROM prices")
    prices.execute("GRANT INSERT ON prices, keyed TO PUBLIC")
    bob.execute("INSERT INTO prices VALUES (3, 3)")
    with bob.cursor().copy("COPY prices FROM STDIN") as copy:
        copy.write_row((4, 4))
    refused(bob, "INSERT INTO keyed VALUES (1, 1)", "replace rows")
    bob.execute("INSERT INTO keyed VALUES (1, 1) ON CONFLICT DO NOTHING")
    refused(bob, "INSERT INTO keyed SELECT * FROM prices ON CONFLICT DO NOTHING")
    with bob.transaction():
        bob.execute("INSERT INTO prices VALUES (5, 5)")
    with pytest.raises(errors.InsufficientPrivilege), bob.transaction():
        bob.execute("INSERT INTO prices VALUES (6, 6)")
        bob.execute("UPDATE prices SET price = 0")
    prices.execute("FLUSH")
    assert sorted(prices.execute("SELECT k FROM prices").fetchall()) == [(1,), (2,), (3,), (4,), (5,)]

    # The owner of a plain view loses what it reads; a materialized view holds its rows already.
    root.execute("ALTER TABLE prices OWNER TO root")
    refused(bob, "SELECT * FROM cheap", "its owner may not read")
    assert bob.execute("SELECT total FROM total").fetchall() == [(67,)]
    root.execute("ALTER TABLE prices OWNER TO ann")
    prices.execute("REVOKE ALL ON cheap FROM bob")
    refused(bob, "SELECT * FROM cheap")
    shown = root.execute("SHOW GRANTS").fetchall()
    assert ("total", "bob", "SELECT") in shown and ("prices", "PUBLIC", "INSERT") in shown and ("cheap", "ann", "OWNER") in shown
    assert not [line for line in shown if line[0] == "cheap" and line[1] == "bob"]


def test_grants_survive_or_replace_and_end_with_a_drop(prices, as_user):
    bob = as_user("bob")
    prices.execute("GRANT SELECT ON cheap TO bob")
    prices.execute("CREATE OR REPLACE VIEW cheap AS SELECT k, price FROM prices WHERE price < 10")
    assert bob.execute("SELECT * FROM cheap").fetchall() == [(1, 5)]
    prices.execute("DROP VIEW cheap")
    prices.execute("CREATE VIEW cheap AS SELECT k FROM prices")
    refused(bob, "SELECT * FROM cheap")
    refused(prices, "CREATE TABLE files (a VARCHAR) WITH (connector = 'filesystem', path = '/etc/passwd', format = 'csv')", "only superusers")


def test_users_change_and_go(secured, prices, as_user):
    root = as_user("root")
    root.execute("CREATE USER eve PASSWORD 'one'")
    eve = secured.connect(user="eve", password="one", autocommit=True)
    # As \password of psql does it: the server never sees the password.
    encrypted = eve.pgconn.encrypt_password(b"two", b"eve", b"scram-sha-256").decode()
    eve.execute(sql.SQL("ALTER USER eve PASSWORD {}").format(encrypted))
    with pytest.raises(psycopg.OperationalError):
        secured.connect(user="eve", password="one")
    secured.connect(user="eve", password="two").close()
    refused(eve, "ALTER USER eve PASSWORD NULL")
    root.execute("ALTER TABLE keyed OWNER TO eve")
    with pytest.raises(errors.DependentObjectsStillExist, match="keyed"):
        root.execute("DROP USER eve")
    root.execute("REASSIGN OWNED BY eve TO ann")
    root.execute("DROP USER eve")
    refused(eve, "SELECT 1", "there is no user")
    eve.close()
    for last in ("DROP USER root", "ALTER USER root NOSUPERUSER", "ALTER USER root PASSWORD NULL"):
        with pytest.raises(errors.SyntaxError, match="superuser"):
            root.execute(last)
    with pytest.raises(errors.UndefinedObject):
        root.execute("GRANT SELECT ON keyed TO eve")


def test_http_asks_for_passwords(secured, prices):
    nobody, ann, bob, wrong = Api(secured), *(Api(secured, user, PASSWORDS[user]) for user in ("ann", "bob")), Api(secured, "ann", "x")
    for path in ("/health", "/ready"):
        assert nobody.request("GET", path)[0] == 200
    for api in (nobody, wrong):
        for path in ("/", "/metrics", "/api/v1/tables", "/iceberg/v1/config", "/openapi.json", "/nothing"):
            status, headers, content = api.request("GET", path)
            assert status == 401 and headers["www-authenticate"].startswith("Basic"), path
            assert json.loads(content)["error"]["message"], path
        assert api.request("POST", "/api/v1/statements", {"sql": "SELECT 1"})[0] == 401
    assert ann.request("GET", "/metrics")[0] == 200
    assert ann.rows("SELECT sum(price) FROM prices") == [["55"]]
    with pytest.raises(Refused) as refusal:
        bob.rows("SELECT * FROM prices")
    assert (refusal.value.status, refusal.value.error["code"]) == (403, "42501")
    for verb in ("pause", "restart"):
        with pytest.raises(Refused) as refusal:
            bob.control("total", verb)
        assert refusal.value.status == 403
    status, _, content = bob.request("GET", "/api/v1/tables/total/changes?snapshot=true")
    assert status == 403, content
    assert ann.control("total", "pause")["status"] == "paused" and ann.control("total", "resume")
    with pytest.raises(Refused) as refusal:
        bob.post("/api/v1/submissions", {"sql": "CREATE MATERIALIZED VIEW mine AS SELECT * FROM prices"})
    assert refusal.value.status == 403


def test_the_shell_and_submit_have_users(secured, prices, tmp_path):
    def frazil(*arguments, **variables):
        environment = {**os.environ, **variables}
        done = subprocess.run([binary(), *arguments], env=environment, capture_output=True, text=True, timeout=PATIENCE)
        return done.returncode, done.stdout, done.stderr

    query = ("-c", "SELECT sum(price) AS s FROM prices", "--format", "csv")
    code, _, message = frazil("sql", "--server", secured.url(), *query)
    assert code == 1 and "FRAZIL_PASSWORD" in message
    code, out, message = frazil("sql", "--server", secured.url(), *query, FRAZIL_USER="ann", FRAZIL_PASSWORD=PASSWORDS["ann"])
    assert (code, out.split()) == (0, ["s", "55"]), message
    login = f"ann:{urllib.parse.quote(PASSWORDS['ann'])}@"
    file = tmp_path / "job.sql"
    file.write_text("CREATE MATERIALIZED VIEW submitted AS SELECT max(price) AS m FROM prices;")
    code, out, message = frazil("submit", str(file), "--server", secured.url().replace("//", f"//{login}"))
    assert (code, out) == (0, "submitted\n"), message
    code, _, message = frazil("submit", str(file), "-U", "bob", "--server", secured.url(), FRAZIL_PASSWORD=PASSWORDS["bob"])
    assert code == 1 and "permission denied" in message


def test_iceberg_clients_have_users(secured, prices):
    prices.execute("GRANT SELECT ON prices TO bob")
    uri = secured.url("/iceberg")
    where = {"uri": uri, "oauth2-server-uri": f"{uri}/v1/oauth/tokens"}
    catalog = RestCatalog("frazil", credential=f"bob:{PASSWORDS['bob']}", **where)
    assert catalog.list_tables("default") == [("default", "prices")]
    rows = catalog.load_table(("default", "prices")).scan().to_arrow().to_pylist()
    assert sorted(row["price"] for row in rows) == [5, 50]
    with pytest.raises(ForbiddenError):
        catalog.load_table(("default", "total"))
    with pytest.raises(OAuthError):
        RestCatalog("frazil", credential="bob:wrong", **where)
    duck = duckdb_with("avro", "httpfs", "iceberg")
    secret = f"CLIENT_ID 'bob', CLIENT_SECRET '{PASSWORDS['bob']}', OAUTH2_SERVER_URI '{uri}/v1/oauth/tokens'"
    duck.execute(f"CREATE SECRET (TYPE ICEBERG, {secret})")
    duck.execute(f"ATTACH '' AS f (TYPE ICEBERG, ENDPOINT '{uri}')")
    assert duck.execute("SELECT sum(price) FROM f.default.prices").fetchall() == [(55,)]


def test_users_survive_a_kill(secured, prices, as_user):
    prices.execute("GRANT SELECT ON total TO bob")
    secured.kill()
    secured.start()
    bob = secured.connect(user="bob", password=PASSWORDS["bob"], autocommit=True)
    assert bob.execute("SELECT total FROM total").fetchall() == [(55,)]
    refused(bob, "SELECT * FROM prices")
    bob.close()


def other_address():
    """An address of this machine at which others reach it, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return None


def test_other_machines_come_in_as_users_or_not_at_all(tmp_path):
    crt, key = certificate(tmp_path)
    command = [binary(), "server", "-w", str(tmp_path / "warehouse"), "--pg", "0.0.0.0:0", "--http", "127.0.0.1:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and "CREATE USER" in done.stderr, done.stderr
    create = [binary(), "sql", "-w", str(tmp_path / "warehouse"), "-c", f"CREATE USER root SUPERUSER PASSWORD '{ROOT}'"]
    assert subprocess.run(create, capture_output=True, timeout=PATIENCE).returncode == 0
    server = Server(tmp_path, "--tls-cert", str(crt), "--tls-key", str(key), pg="0.0.0.0", http="0.0.0.0")
    # Encrypted, psql offers to bind the proof to the channel.
    for mode in ("verify-full", "require"):
        with server.connect(user="root", password=ROOT, sslmode=mode, sslrootcert=str(crt)) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    assert Api(server, "root", ROOT).rows("SELECT 1") == [["1"]]
    run = [binary(), "sql", "--server", server.url(), "-U", "root", "-c", "SELECT 1 AS one", "--format", "csv"]
    environment = {**os.environ, "FRAZIL_PASSWORD": ROOT, "SSL_CERT_FILE": str(crt)}
    done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.split() == ["one", "1"], done.stderr
    address = other_address()
    if address:
        with psycopg.connect(f"host={address} port={server.port} dbname=frazil user=root", password=ROOT, autocommit=True) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("root",)
            # The last user goes: nobody else comes in from elsewhere.
            connection.execute("DROP USER root")
        with pytest.raises(psycopg.OperationalError, match="from other machines"):
            psycopg.connect(f"host={address} port={server.port} dbname=frazil user=root", password=ROOT)
    assert server.stop() == 0
