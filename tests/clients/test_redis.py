"""redis-py's asyncio client against a Redis server of our own."""

import asyncio

import pytest
import real

redis = real.need("redis")
from redis.asyncio import BlockingConnectionPool, Redis  # noqa: E402
from redis.asyncio.retry import Retry  # noqa: E402
from redis.backoff import NoBackoff  # noqa: E402


def once():
    """No second tries, which would take seconds and hide faults."""
    return Retry(NoBackoff(), 0)


@pytest.fixture
def make_client(redis_server):
    def make(**options):
        return Redis(
            host=redis_server.host, port=redis_server.port, retry=once(), **options
        )

    return make


def test_commands(run, make_client):
    async def main():
        async with make_client(decode_responses=True) as client:
            await client.flushall()
            assert await client.set("key", "välue") is True
            assert await client.get("key") == "välue"
            big = "x" * 4_000_000
            await client.set("big", big)
            assert await client.get("big") == big
            await client.hset("hash", mapping={str(n): n for n in range(500)})
            assert len(await client.hgetall("hash")) == 500
            with pytest.raises(redis.ResponseError):
                await client.lpush("key", "x")
            numbers = [client.incr("counter") for _ in range(80)]
            assert sorted(await asyncio.gather(*numbers)) == list(range(1, 81))
            keys = [key async for key in client.scan_iter("b*")]
            assert keys == ["big"]

    run(main)


def test_pipeline(run, make_client):
    async def main():
        async with make_client() as client:
            await client.flushall()
            async with client.pipeline(transaction=False) as pipe:
                for number in range(2000):
                    pipe.set(f"key:{number}", number)
                for number in range(2000):
                    pipe.get(f"key:{number}")
                results = await pipe.execute()
            assert results[:2000] == [True] * 2000
            assert [int(value) for value in results[2000:]] == list(range(2000))

            async def add():
                async with client.pipeline() as pipe:
                    while True:
                        try:
                            await pipe.watch("sum")
                            value = int(await pipe.get("sum") or 0)
                            pipe.multi()
                            pipe.set("sum", value + 1)
                            return await pipe.execute()
                        except redis.WatchError:
                            continue

            await asyncio.gather(*(add() for _ in range(10)))
            assert int(await client.get("sum")) == 10

    run(main)


def test_publish_and_subscribe(run, make_client):
    async def main():
        async with make_client(decode_responses=True) as client:
            async with client.pubsub() as channel:
                await channel.subscribe("news")
                await channel.psubscribe("other.*")
                heard = []

                async def listen():
                    async for message in channel.listen():
                        if message["type"].endswith("message"):
                            heard.append((message["channel"], message["data"]))
                            if message["data"] == "end":
                                return

                task = asyncio.ensure_future(listen())
                await asyncio.sleep(0.05)
                for number in range(100):
                    await client.publish("news", str(number))
                await client.publish("other.thing", "end")
                await asyncio.wait_for(task, 10)
                expected = [("news", str(number)) for number in range(100)]
                assert heard == [*expected, ("other.thing", "end")]

    run(main)


def test_blocking_commands_and_timeouts(run, make_client):
    async def main():
        async with make_client() as client, make_client(socket_timeout=0.2) as hasty:
            await client.delete("queue")
            waiting = asyncio.ensure_future(client.blpop("queue", 10))
            await asyncio.sleep(0.05)
            await hasty.rpush("queue", b"job")
            assert list(await waiting) == [b"queue", b"job"]
            with pytest.raises(redis.TimeoutError):
                await hasty.blpop("queue", 10)
            task = asyncio.ensure_future(client.blpop("queue", 10))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await client.ping()

    run(main)


def test_pool(run, redis_server):
    async def main():
        pool = BlockingConnectionPool(
            host=redis_server.host, port=redis_server.port, max_connections=4
        )
        client = Redis(connection_pool=pool)

        async def work(number):
            await client.set(f"pool:{number}", number)
            return int(await client.get(f"pool:{number}"))

        assert await asyncio.gather(*map(work, range(100))) == list(range(100))
        await client.client_kill_filter(_type="normal", skipme=True)
        assert await client.ping()
        await client.aclose()
        await pool.disconnect()

    run(main)


def test_unix_socket(run, redis_server):
    async def main():
        async with Redis(unix_socket_path=redis_server.path) as client:
            assert await client.ping()

    run(main)


def test_refused(run):
    async def main():
        async with Redis(
            host="127.0.0.1", port=real.free_port(), retry=once()
        ) as client:
            with pytest.raises(redis.ConnectionError):
                await client.ping()

    run(main)


def test_tls(run, impl, redis_server, certificates):
    async def main():
        async with Redis(
            host=redis_server.host,
            port=redis_server.tls_port,
            ssl=True,
            ssl_ca_certs=certificates.authority_file,
            ssl_check_hostname=True,
            retry=once(),
        ) as client:
            await client.flushall()
            big = b"x" * 4_000_000
            await client.set("big", big)
            assert await client.get("big") == big
            async with client.pipeline(transaction=False) as pipe:
                for number in range(2000):
                    pipe.set(f"key:{number}", number)
                for number in range(2000):
                    pipe.get(f"key:{number}")
                results = await pipe.execute()
            assert [int(value) for value in results[2000:]] == list(range(2000))
            async with client.pubsub() as channel:
                await channel.subscribe("news")
                assert (await channel.get_message(timeout=5))["type"] == "subscribe"
                await client.publish("news", "told")
                assert (await channel.get_message(timeout=5))["data"] == b"told"
            connection = await client.connection_pool.get_connection()
            real.check_tls(impl, connection._writer.transport)
            await client.connection_pool.release(connection)

    run(main)


def test_tls_of_a_stranger(run, redis_server):
    async def main():
        async with Redis(
            host=redis_server.host, port=redis_server.tls_port, ssl=True, retry=once()
        ) as client:
            with pytest.raises(redis.ConnectionError, match="VERIFY_FAILED"):
                await client.ping()

    run(main)
