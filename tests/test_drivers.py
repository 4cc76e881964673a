"""Python drivers other than psycopg: asyncpg, which speaks the binary format throughout, and SQLAlchemy, which reads system tables."""

import asyncio
import datetime
import decimal
import io
import time

import asyncpg
import pytest
import sqlalchemy
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import create_async_engine

COLUMNS = """k BIGINT PRIMARY KEY, b BOOLEAN, i INT, r REAL, d DOUBLE, n DECIMAL(38, 10), s VARCHAR, y BYTEA, da DATE, ti TIME,
ts TIMESTAMP, tz TIMESTAMP WITH TIME ZONE, longs BIGINT[], texts VARCHAR[]"""
ROW = (
    1,
    True,
    -5,
    1.5,
    2.25,
    decimal.Decimal("12345678901234567890.0123456789"),
    "it's é, \\ \"x\"",
    b"\x00\xff",
    datetime.date(1999, 12, 31),
    datetime.time(1, 2, 3, 4),
    datetime.datetime(2024, 2, 29, 1, 2, 3, 456),
    datetime.datetime(1969, 7, 20, 20, 17, tzinfo=datetime.timezone.utc),
    [1, None, -(2**62)],
    ["a", None, "", 'b "c", \\'],
)
NULLS = (2,) + (None,) * (len(ROW) - 1)


def with_asyncpg(server, work):
    """Runs `work` with a connection."""

    async def run():
        connection = await asyncpg.connect(**address(server))
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(run())


def address(server):
    return {"host": "127.0.0.1", "port": server.port, "user": "tester", "database": "frazil", "timeout": 60, "command_timeout": 60}


async def fresh(connection, name, columns):
    await connection.execute(f"DROP TABLE IF EXISTS {name} CASCADE; ")
    await connection.execute(f"CREATE TABLE {name} ({columns})")


async def rows_of(connection, table, columns="*"):
    return [tuple(row) for row in await connection.fetch(f"SELECT {columns} FROM {table} ORDER BY k")]


def test_asyncpg_gives_back_every_type(server):
    async def work(connection):
        await fresh(connection, "a_types", COLUMNS)
        marks = ", ".join(f"${number}" for number in range(1, len(ROW) + 1))
        for row in (ROW, NULLS):
            assert await connection.execute(f"INSERT INTO a_types VALUES ({marks})", *row) == "INSERT 0 1"
        assert await rows_of(connection, "a_types") == [ROW, NULLS]
        statement = await connection.prepare("SELECT * FROM a_types WHERE k = $1")
        assert [parameter.name for parameter in statement.get_parameters()] == ["int8"]
        assert [column.name for column in statement.get_attributes()][:3] == ["k", "b", "i"]
        assert tuple(await statement.fetchrow(2)) == NULLS
        assert await connection.fetchval("SELECT k FROM a_types WHERE k = ANY($1)", [7, 1]) == 1
        assert await connection.fetchval("SELECT INTERVAL '1 day 2 hours'") == datetime.timedelta(days=1, hours=2)
        assert await connection.fetchrow("SELECT ARRAY[ARRAY[1, 2], ARRAY[3, 4]] AS m, NULL AS n") == ([[1, 2], [3, 4]], None)

    with_asyncpg(server, work)


def test_asyncpg_changes_rows(server):
    async def work(connection):
        await fresh(connection, "a_rows", "k BIGINT PRIMARY KEY, s VARCHAR")
        await connection.executemany("INSERT INTO a_rows VALUES ($1, $2)", [(k, f"s{k}") for k in range(200)])
        assert await connection.execute("UPDATE a_rows SET s = $1 WHERE k < $2", "new", 3) == "UPDATE 3"
        assert await connection.execute("DELETE FROM a_rows WHERE k >= $1", 5) == "DELETE 195"
        assert await rows_of(connection, "a_rows") == [(0, "new"), (1, "new"), (2, "new"), (3, "s3"), (4, "s4")]
        await connection.execute("CREATE MATERIALIZED VIEW a_count AS SELECT s, count(*) AS n FROM a_rows GROUP BY s")
        assert await connection.fetchval("SELECT n FROM a_count WHERE s = $1", "new") == 3

    with_asyncpg(server, work)


def test_asyncpg_errors_say_what_where_and_what_to_do(server):
    async def work(connection):
        with pytest.raises(asyncpg.UndefinedTableError) as raised:
            await connection.fetch("SELECT * FROM nowhere")
        assert (raised.value.position, raised.value.hint) == ("15", "SHOW TABLES lists what there is")
        with pytest.raises(asyncpg.UndefinedColumnError):
            await connection.fetch("SELECT nothing FROM generate_series(1, 2)")
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await connection.execute("SELEC 1")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.fetch("SELECT 1 / $1::BIGINT", 0)
        assert await connection.fetchval("SELECT 1") == 1

    with_asyncpg(server, work)


def test_asyncpg_transactions_and_cursors(server):
    async def work(connection):
        await fresh(connection, "a_work", "k BIGINT PRIMARY KEY")
        async with connection.transaction():
            await connection.execute("INSERT INTO a_work VALUES (1)")
            with pytest.raises(asyncpg.UndefinedTableError):
                async with connection.transaction():
                    await connection.execute("INSERT INTO a_work VALUES (2)")
                    await connection.execute("SELECT * FROM nowhere")
            await connection.execute("INSERT INTO a_work VALUES (3)")
        assert await rows_of(connection, "a_work") == [(1,), (3,)]
        with pytest.raises(ZeroDivisionError):
            async with connection.transaction():
                await connection.execute("DELETE FROM a_work")
                raise ZeroDivisionError
        assert await rows_of(connection, "a_work") == [(1,), (3,)]
        async with connection.transaction(readonly=True, isolation="serializable"):
            series = "SELECT value FROM generate_series($1::BIGINT, $2::BIGINT) ORDER BY value"
            assert [row[0] async for row in connection.cursor(series, 1, 100, prefetch=7)] == list(range(1, 101))
            cursor = await connection.cursor(series, 1, 100)
            assert [row[0] for row in await cursor.fetch(3)] == [1, 2, 3]
            assert (await cursor.fetchrow())[0] == 4
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await connection.execute("INSERT INTO a_work VALUES (9)")

    with_asyncpg(server, work)


def test_asyncpg_copies(server):
    async def work(connection):
        for table in ("a_source", "a_target", "a_binary"):
            await fresh(connection, table, COLUMNS)
        assert await connection.copy_records_to_table("a_source", records=[ROW, NULLS]) == "COPY 2"
        assert await rows_of(connection, "a_source") == [ROW, NULLS]
        assert await connection.copy_records_to_table("a_source", records=[(3, "part")], columns=["k", "s"]) == "COPY 1"
        for format, table in (("csv", "a_target"), ("binary", "a_binary")):
            file = io.BytesIO()
            assert await connection.copy_from_table("a_source", output=file, format=format) == "COPY 3"
            file.seek(0)
            assert await connection.copy_to_table(table, source=file, format=format) == "COPY 3"
            assert await rows_of(connection, table) == await rows_of(connection, "a_source")
        file = io.BytesIO()
        assert await connection.copy_from_query("SELECT k FROM a_source WHERE k > $1 ORDER BY k", 1, output=file) == "COPY 2"
        assert file.getvalue() == b"2\n3\n"

    with_asyncpg(server, work)


def test_asyncpg_cancels_what_takes_too_long(server):
    async def work(connection):
        many = "generate_series(1, 1000000)"
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            await connection.fetch(f"SELECT COUNT(*) FROM {many} AS a (x), {many} AS b (y) WHERE (x * y) % 7 = 3", timeout=0.5)
        assert await connection.fetchval("SELECT 1") == 1
        assert time.monotonic() - start < 20

    with_asyncpg(server, work)


def test_asyncpg_pools_reset_connections(server):
    async def work():
        async with asyncpg.create_pool(min_size=1, max_size=4, **address(server)) as pool:
            await pool.execute("DROP TABLE IF EXISTS a_pool CASCADE")
            await pool.execute("CREATE TABLE a_pool (k BIGINT PRIMARY KEY)")
            await asyncio.gather(*(pool.execute("INSERT INTO a_pool VALUES ($1)", k) for k in range(40)))
            assert await pool.fetchval("SELECT count(*) FROM a_pool") == 40
            async with pool.acquire() as connection:
                await connection.execute("SET default_transaction_read_only = on")
                with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                    await connection.execute("DELETE FROM a_pool")
            async with pool.acquire() as connection:
                assert await connection.execute("DELETE FROM a_pool") == "DELETE 40"

    asyncio.run(work())


def urls(server):
    at = f"tester@127.0.0.1:{server.port}/frazil"
    return f"postgresql+psycopg://{at}", f"postgresql+asyncpg://{at}"


@pytest.fixture
def alchemy(server):
    engine = sqlalchemy.create_engine(urls(server)[0])
    yield engine
    engine.dispose()


def renew(engine, *statements):
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_sqlalchemy_finds_tables_columns_and_keys(alchemy):
    renew(
        alchemy,
        "DROP TABLE IF EXISTS s_found CASCADE",
        f"CREATE TABLE s_found ({COLUMNS})",
        "DROP TABLE IF EXISTS s_pairs CASCADE",
        "CREATE TABLE s_pairs (v VARCHAR, b BIGINT NOT NULL, a VARCHAR NOT NULL, PRIMARY KEY (a, b))",
        "CREATE VIEW s_view AS SELECT k, s FROM s_found",
        "CREATE MATERIALIZED VIEW s_sums AS SELECT s, count(*) AS n FROM s_found GROUP BY s",
    )
    inspector = sqlalchemy.inspect(alchemy)
    assert {"s_found", "s_pairs"} <= set(inspector.get_table_names())
    assert "s_view" in inspector.get_view_names()
    assert "s_sums" in inspector.get_materialized_view_names()
    assert "public" in inspector.get_schema_names()
    assert inspector.has_table("s_found") and not inspector.has_table("s_nowhere")
    assert inspector.get_pk_constraint("s_found")["constrained_columns"] == ["k"]
    assert inspector.get_pk_constraint("s_pairs")["constrained_columns"] == ["a", "b"]
    assert inspector.get_foreign_keys("s_found") == []
    columns = {column["name"]: column for column in inspector.get_columns("s_found")}
    assert list(columns) == "k b i r d n s y da ti ts tz longs texts".split()
    assert [column["nullable"] for column in columns.values()] == [False] + [True] * 13
    assert isinstance(columns["k"]["type"], sqlalchemy.BigInteger)
    assert isinstance(columns["n"]["type"], sqlalchemy.Numeric)
    assert (columns["n"]["type"].precision, columns["n"]["type"].scale) == (38, 10)
    assert columns["tz"]["type"].timezone and not columns["ts"]["type"].timezone
    assert isinstance(columns["texts"]["type"], sqlalchemy.ARRAY)


def test_sqlalchemy_works_with_reflected_tables(alchemy):
    renew(alchemy, "DROP TABLE IF EXISTS s_types CASCADE", f"CREATE TABLE s_types ({COLUMNS})")
    metadata = sqlalchemy.MetaData()
    metadata.reflect(alchemy)
    table = metadata.tables["s_types"]
    assert [column.name for column in table.primary_key] == ["k"]
    names = [column.name for column in table.columns]
    with alchemy.begin() as connection:
        for row in (ROW, NULLS):
            connection.execute(table.insert(), dict(zip(names, row, strict=True)))
    with alchemy.connect() as connection:
        assert [tuple(row) for row in connection.execute(table.select().order_by(table.c.k))] == [ROW, NULLS]
        wanted = sqlalchemy.select(table.c.s).where(table.c.k.in_([1, 5]), table.c.ts < datetime.datetime(2030, 1, 1)).limit(1)
        assert connection.execute(wanted).scalars().all() == [ROW[6]]
        assert connection.execute(sqlalchemy.update(table).where(table.c.k == 2).values(s="two")).rowcount == 1
        connection.rollback()
        assert connection.execute(sqlalchemy.select(table.c.s).where(table.c.k == 2)).scalar() is None
        with pytest.raises(sqlalchemy.exc.ProgrammingError) as raised:
            connection.execute(sqlalchemy.text("SELECT * FROM nowhere"))
        assert raised.value.orig.sqlstate == "42P01"


class Base(orm.DeclarativeBase):
    pass


class Flight(Base):
    __tablename__ = "s_flights"
    number: orm.Mapped[int] = orm.mapped_column(sqlalchemy.BigInteger, primary_key=True, autoincrement=False)
    carrier: orm.Mapped[str] = orm.mapped_column(sqlalchemy.String)
    delay: orm.Mapped[float | None] = orm.mapped_column(sqlalchemy.Double)
    tags: orm.Mapped[list[str] | None] = orm.mapped_column(sqlalchemy.ARRAY(sqlalchemy.String))


def test_sqlalchemy_sessions_keep_objects(alchemy):
    at_once = alchemy.execution_options(isolation_level="AUTOCOMMIT")
    Base.metadata.drop_all(at_once)
    Base.metadata.create_all(at_once)
    with orm.Session(alchemy) as session:
        session.add_all([Flight(number=k, carrier="AB"[k % 2], delay=None, tags=[f"t{k}", "x"]) for k in range(10)])
        session.commit()
        flight = session.get(Flight, 3)
        assert (flight.carrier, flight.delay, flight.tags) == ("B", None, ["t3", "x"])
        flight.delay = 1.5
        session.delete(session.get(Flight, 4))
        session.commit()
        with session.begin_nested() as savepoint:
            session.execute(sqlalchemy.delete(Flight).where(Flight.carrier == "A"))
            savepoint.rollback()
        late = sqlalchemy.select(Flight.carrier, sqlalchemy.func.count()).group_by(Flight.carrier).order_by(Flight.carrier)
        assert [tuple(row) for row in session.execute(late)] == [("A", 4), ("B", 5)]
        assert session.scalars(sqlalchemy.select(Flight.number).where(Flight.delay > 1)).all() == [3]
        session.rollback()


def test_sqlalchemy_streams_results(alchemy):
    with alchemy.connect().execution_options(stream_results=True, max_row_buffer=100) as connection:
        series = sqlalchemy.text("SELECT value FROM generate_series(1, :last) AS g (value) ORDER BY value")
        result = connection.execute(series, {"last": 5000})
        assert result.fetchone() == (1,)
        assert sum(value for (value,) in result) == 5000 * 5001 // 2 - 1


def test_sqlalchemy_over_asyncpg(server, alchemy):
    renew(alchemy, "DROP TABLE IF EXISTS s_async CASCADE", f"CREATE TABLE s_async ({COLUMNS})")

    async def work():
        engine = create_async_engine(urls(server)[1])
        metadata = sqlalchemy.MetaData()
        async with engine.begin() as connection:
            await connection.run_sync(metadata.reflect)
            table = metadata.tables["s_async"]
            names = [column.name for column in table.columns]
            await connection.execute(table.insert(), [dict(zip(names, row, strict=True)) for row in (ROW, NULLS)])
        async with engine.connect() as connection:
            found = await connection.execute(table.select().order_by(table.c.k))
            assert [tuple(row) for row in found] == [ROW, NULLS]
            series = sqlalchemy.text("SELECT value FROM generate_series(1, 500) AS g (value)")
            assert sum([row[0] async for row in await connection.stream(series)]) == 125250
        await engine.dispose()

    asyncio.run(work())
