"""psycopg 3 against a PostgreSQL server of our own. libpq owns the sockets; the loop
watches their descriptors, which libpq closes behind its back.
"""

import asyncio

import pytest
import real

psycopg = real.need("psycopg")
psycopg_pool = real.need("psycopg_pool")


@pytest.fixture
def connect(postgres):
    def connect(**options):
        return psycopg.AsyncConnection.connect(postgres.dsn, **options)

    return connect


async def one(connection, query, *args):
    cursor = await connection.execute(query, args or None)
    return (await cursor.fetchone())[0]


def test_queries(run, connect):
    async def main():
        async with await connect() as connection:
            assert await one(connection, "select %s + 1", 41) == 42
            cursor = await connection.execute("select * from generate_series(1, 5000)")
            assert [row[0] async for row in cursor] == list(range(1, 5001))
            big = "x" * 3_000_000
            assert await one(connection, "select %s::text", big) == big
            with pytest.raises(psycopg.errors.DivisionByZero):
                await connection.execute("select 1 / 0")
            await connection.rollback()
            assert await one(connection, "select 1") == 1

    run(main)


def test_connections_one_after_the_other(run, connect):
    """Each gets the descriptor number that the one before had."""

    async def main():
        for number in range(30):
            async with await connect() as connection:
                assert await one(connection, "select %s::int", number) == number

    run(main)


def test_pipeline_mode(run, connect):
    async def main():
        async with await connect() as connection, connection.pipeline():
            cursors = [
                await connection.execute("select %s::int", [n]) for n in range(200)
            ]
            got = [(await cursor.fetchone())[0] for cursor in cursors]
        assert got == list(range(200))

    run(main)


def test_copy(run, connect):
    async def main():
        async with await connect() as connection, connection.cursor() as cursor:
            await cursor.execute("create temp table t (n int, x text)")
            async with cursor.copy("copy t from stdin") as copy:
                for number in range(5000):
                    await copy.write_row((number, "x" * (number % 300)))
            async with cursor.copy(
                "copy (select n from t order by n) to stdout"
            ) as copy:
                got = b"".join([bytes(block) async for block in copy])
            assert got.split() == [b"%d" % number for number in range(5000)]

    run(main)


def test_listen(run, connect):
    async def main():
        listener = await connect(autocommit=True)
        sender = await connect(autocommit=True)
        async with listener, sender:
            await listener.execute("listen news")

            async def tell():
                for number in range(20):
                    await sender.execute("select pg_notify('news', %s)", [str(number)])
                    await asyncio.sleep(0)

            task = asyncio.ensure_future(tell())
            got = [
                notice.payload
                async for notice in listener.notifies(timeout=10, stop_after=20)
            ]
            await task
            assert got[:20] == [str(number) for number in range(20)]

    run(main)


def test_cancel(run, connect):
    async def main():
        async with await connect(autocommit=True) as connection:
            task = asyncio.ensure_future(connection.execute("select pg_sleep(30)"))
            await asyncio.sleep(0.1)
            await connection.cancel_safe()
            with pytest.raises(psycopg.errors.QueryCanceled):
                await task
            assert await one(connection, "select 1") == 1
            task = asyncio.ensure_future(connection.execute("select pg_sleep(30)"))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await one(connection, "select 2") == 2

    run(main)


def test_pool(run, postgres):
    async def main():
        pool = psycopg_pool.AsyncConnectionPool(
            postgres.dsn, min_size=2, max_size=6, open=False
        )
        async with pool:
            await pool.wait(10)

            async def work(number):
                async with pool.connection() as connection:
                    await connection.execute("select pg_sleep(0.002)")
                    return await one(connection, "select %s::int", number)

            assert await asyncio.gather(*map(work, range(100))) == list(range(100))
            with pytest.raises(psycopg.OperationalError):
                async with pool.connection() as connection:
                    await connection.execute(
                        "select pg_terminate_backend(pg_backend_pid())"
                    )
            assert await work(7) == 7

    run(main)


def test_server_that_goes_away(run, postgres, connect):
    async def main():
        first, second = await connect(autocommit=True), await connect(autocommit=True)
        task = asyncio.ensure_future(first.execute("select pg_sleep(30)"))
        await asyncio.sleep(0.1)
        await second.execute(
            "select pg_terminate_backend(%s)", [first.info.backend_pid]
        )
        with pytest.raises(psycopg.OperationalError):
            await task
        assert first.closed
        await first.close()
        await second.close()

    run(main)


def test_refused(run):
    async def main():
        with pytest.raises(psycopg.OperationalError):
            await psycopg.AsyncConnection.connect(
                f"postgresql://a@127.0.0.1:{real.free_port()}/b"
            )

    run(main)
