"""What no client should send: the server refuses it, leaks nothing, and others do not notice."""

import os
import random
import re
import socket
import struct
import threading

import psycopg
import pytest

STREAMS = 10_000
THREADS = 8


def startup():
    body = struct.pack("!i", 196608) + b"user\0fuzz\0database\0frazil\0\0"
    return struct.pack("!i", len(body) + 4) + body


def message(kind, body):
    return kind + struct.pack("!i", len(body) + 4) + body


VALID = [
    message(b"Q", b"SELECT 1\0"),
    message(b"P", b"s\0SELECT $1::BIGINT + 1\0" + struct.pack("!h", 0)),
    message(b"B", b"\0s\0" + struct.pack("!hhih", 0, 1, 1, 0) [:6] + struct.pack("!i", 1) + b"7" + struct.pack("!h", 0)),
    message(b"D", b"Ss\0"),
    message(b"E", b"\0" + struct.pack("!i", 0)),
    message(b"C", b"Ss\0"),
    message(b"S", b""),
    message(b"H", b""),
    message(b"Q", b"COPY fuzzed FROM STDIN\0"),
    message(b"d", b"1\tx\n"),
    message(b"c", b""),
    message(b"f", b"no\0"),
    message(b"p", b"secret\0"),
    message(b"X", b""),
]


def stream(rng):
    """Bytes without sense, or messages of which some are damaged."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randbytes(rng.randrange(1, 200))
    messages = [startup()] + [rng.choice(VALID) for _ in range(rng.randrange(1, 8))]
    data = bytearray(b"".join(messages))
    if kind == 1:
        return bytes(data[: rng.randrange(len(data))])
    if kind == 2:
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    else:
        place = rng.randrange(len(startup()), len(data) + 1)
        data[place:place] = rng.randbytes(rng.randrange(1, 40))
    return bytes(data)


def send(server, data):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        except (ConnectionResetError, BrokenPipeError, OSError) as error:
            # The server may close before it has read everything. That it says nothing at all for 20 s it may not.
            assert not isinstance(error, TimeoutError), data


def resident(server):
    with open(f"/proc/{server.process.pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+) kB", status.read()).group(1)) // 1024


def descriptors(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


@pytest.fixture
def watched(server):
    """The server, with somebody who works all the time; afterwards nothing may be left over."""
    with server.connect(autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS fuzzed (k BIGINT, s VARCHAR)")
        connection.execute("SELECT count(*) FROM fuzzed")
        descriptors_before, resident_before = descriptors(server), resident(server)
        stop, failures, answers = threading.Event(), [], []

        def work():
            with server.connect(autocommit=True) as other:
                while not stop.is_set():
                    try:
                        answers.append(other.execute("SELECT 40 + 2").fetchone()[0])
                    except psycopg.Error as error:
                        failures.append(error)
                        return

        worker = threading.Thread(target=work)
        worker.start()
        while not answers and worker.is_alive():
            threading.Event().wait(0.01)
        yield server
        stop.set()
        worker.join()
        assert not failures
        assert answers and set(answers) == {42}
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert "panicked" not in server.errors() and "defect" not in server.errors()
    for _ in range(100):
        if descriptors(server) <= descriptors_before + 16:
            break
        threading.Event().wait(0.05)
    assert descriptors(server) <= descriptors_before + 16
    assert resident(server) < resident_before + 200


def test_streams_of_random_bytes(watched, pytestconfig):
    seed = pytestconfig.getoption("--seed")

    def play(first):
        for number in range(first, STREAMS, THREADS):
            try:
                send(watched, stream(random.Random(f"{seed}-{number}")))
            except BaseException as error:
                failures.append((number, error))
                return

    failures = []
    threads = [threading.Thread(target=play, args=(first,)) for first in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, f"seed {seed}: {failures}"


def test_connections_that_say_nothing_hold_nobody_up(watched):
    silent = [socket.create_connection(("127.0.0.1", watched.port)) for _ in range(300)]
    for connection in silent[::2]:
        connection.sendall(startup()[:9])
    with watched.connect(autocommit=True) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    for connection in silent:
        connection.close()


@pytest.mark.parametrize("length", [0x7FFFFFFF, 0x40000000, 65 << 20, 3, 0xFFFFFFFF])
def test_a_message_of_an_impossible_length_is_refused(watched, length):
    with socket.create_connection(("127.0.0.1", watched.port), timeout=20) as connection:
        connection.sendall(startup())
        answer = connection.recv(65536)
        while not answer.endswith(b"Z\0\0\0\x05I"):
            answer += connection.recv(65536)
        connection.sendall(b"Q" + struct.pack("!I", length) + b"SELECT 1\0")
        answer = b""
        while part := connection.recv(65536):
            answer += part
        assert b"FATAL" in answer


def test_a_large_statement_and_a_large_row_are_no_problem(watched):
    with watched.connect(autocommit=True) as connection:
        text = "x" * (8 << 20)
        assert connection.execute("SELECT length(%s::VARCHAR)", (text,)).fetchone() == (len(text),)
        assert connection.execute(f"SELECT length('{text}')").fetchone() == (len(text),)
        assert connection.execute("SELECT repeat('y', 8388608)").fetchone() == ("y" * 8388608,)
