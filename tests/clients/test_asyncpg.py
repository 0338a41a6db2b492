"""asyncpg against a PostgreSQL server of our own."""

import asyncio
import datetime
import io
import ssl

import pytest
import real

asyncpg = real.need("asyncpg")


@pytest.fixture
def connect(postgres):
    def connect(**options):
        return asyncpg.connect(postgres.dsn, **options)

    return connect


def test_queries(run, connect):
    async def main():
        connection = await connect()
        assert await connection.fetchval("select $1::int + 1", 41) == 42
        day = datetime.date(2020, 2, 29)
        row = await connection.fetchrow(
            "select $1::date as day, $2::text as x", day, "é"
        )
        assert dict(row) == {"day": day, "x": "é"}
        rows = await connection.fetch("select n from generate_series(1, 20000) n")
        assert [row["n"] for row in rows] == list(range(1, 20001))
        big = "x" * 5_000_000
        assert await connection.fetchval("select $1::text", big) == big
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.fetchval("select 1 / 0")
        assert await connection.fetchval("select 'still here'") == "still here"
        await connection.close()

    run(main)


def test_transactions_and_cursors(run, connect):
    async def main():
        connection = await connect()
        await connection.execute("create temp table t (n int primary key)")
        with pytest.raises(asyncpg.UniqueViolationError):
            async with connection.transaction():
                await connection.execute("insert into t values (1), (1)")
        async with connection.transaction():
            await connection.executemany(
                "insert into t values ($1)", [(number,) for number in range(1000)]
            )
            got = [row["n"] async for row in connection.cursor("select n from t")]
        assert sorted(got) == list(range(1000))
        await connection.close()

    run(main)


def test_copy(run, connect, tmp_path):
    async def main():
        connection = await connect()
        await connection.execute("create temp table t (n int, x text)")
        records = [(number, "x" * (number % 500)) for number in range(5000)]
        result = await connection.copy_records_to_table("t", records=records)
        assert result == "COPY 5000"
        out = io.BytesIO()
        await connection.copy_from_query("select n from t order by n", output=out)
        assert out.getvalue().split() == [b"%d" % n for n in range(5000)]
        path = tmp_path / "table"
        await connection.copy_from_table("t", output=str(path), format="binary")
        await connection.execute("truncate t")
        await connection.copy_to_table("t", source=str(path), format="binary")
        assert await connection.fetchval("select count(*) from t") == 5000
        await connection.close()

    run(main)


def test_listen(run, connect):
    async def main():
        listener, sender = await connect(), await connect()
        heard = asyncio.Queue()
        await listener.add_listener("news", lambda *args: heard.put_nowait(args))
        for number in range(20):
            await sender.execute("select pg_notify('news', $1)", str(number))
            args = await asyncio.wait_for(heard.get(), 5)
            assert args[0] is listener
            assert args[1:] == (sender.get_server_pid(), "news", str(number))
        await listener.reset()
        await listener.close()
        await sender.close()

    run(main)


def test_cancel_and_timeout(run, connect):
    async def main():
        connection = await connect()
        with pytest.raises(asyncio.TimeoutError):
            await connection.execute("select pg_sleep(30)", timeout=0.1)
        assert await connection.fetchval("select 1") == 1
        task = asyncio.ensure_future(connection.execute("select pg_sleep(30)"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # The server was told, through a connection made for that.
        assert await connection.fetchval("select 2") == 2
        await connection.close()

    run(main)


def test_pool(run, postgres):
    async def main():
        async with asyncpg.create_pool(postgres.dsn, min_size=2, max_size=8) as pool:

            async def work(number):
                async with pool.acquire() as connection, connection.transaction():
                    await connection.execute("select pg_sleep(0.002)")
                    return await connection.fetchval("select $1::int", number)

            assert await asyncio.gather(*map(work, range(100))) == list(range(100))
            assert pool.get_size() <= 8
            lost = await pool.acquire()
            killer = await pool.acquire()
            await killer.execute(
                "select pg_terminate_backend($1)", lost.get_server_pid()
            )
            # The pool takes back what is lost, as soon as connection_lost is called.
            with pytest.raises(asyncpg.InterfaceError, match="released back"):
                while not lost.is_closed():
                    await asyncio.sleep(0.01)
            await pool.release(killer)
            assert await pool.fetchval("select 3") == 3

    run(main)


def test_unix_socket(run, postgres):
    async def main():
        connection = await asyncpg.connect(
            host=postgres.folder,
            port=postgres.port,
            user=postgres.user,
            database=postgres.database,
        )
        assert await connection.fetchval("select inet_server_addr()") is None
        await connection.close()

    run(main)


def test_refused(run):
    async def main():
        with pytest.raises(OSError):
            await asyncpg.connect(f"postgresql://a@127.0.0.1:{real.free_port()}/b")

    run(main)


def test_verify_full(run, impl, postgres, certificates):
    """PostgreSQL's own start of TLS, in the middle of a connection."""
    dsn = postgres.dsn + "?sslmode=verify-full&sslrootcert="

    async def main():
        connection = await asyncpg.connect(dsn + certificates.authority_file)
        real.check_tls(impl, connection._transport)
        query = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
        assert await connection.fetchval(query) is True
        rows = await connection.fetch("select n from generate_series(1, 20000) n")
        assert [row["n"] for row in rows] == list(range(1, 20001))
        big = "x" * 5_000_000
        assert await connection.fetchval("select $1::text", big) == big
        with pytest.raises(asyncio.TimeoutError):
            await connection.execute("select pg_sleep(30)", timeout=0.1)
        assert await connection.fetchval("select 'still here'") == "still here"
        await connection.close()
        async with asyncpg.create_pool(
            dsn + certificates.authority_file, min_size=2, max_size=8
        ) as pool:
            wanted = [pool.fetchval("select $1::int", n) for n in range(100)]
            assert await asyncio.gather(*wanted) == list(range(100))

    run(main)


def test_verify_full_finds_fault(run, postgres, certificates):
    """A certificate of another authority, and one for another name."""

    async def main():
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncpg.connect(postgres.dsn, ssl=ssl.create_default_context())
        # The certificate is for "localhost" and 127.0.0.1 only.
        dsn = postgres.dsn.replace(postgres.host, "127.0.0.2")
        context = certificates.client()
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            await asyncpg.connect(dsn, ssl=context)

    run(main)
