"""grpc.aio: its core has threads of its own and wakes the loop by a descriptor."""

import asyncio

import pytest
import real

grpc = real.need("grpc")


class Handler(grpc.GenericRpcHandler):
    """A service without protobuf: bytes in, bytes out."""

    def __init__(self, names, ends):
        self.names = names
        self.ends = ends

    def service(self, details):
        return {
            "/test/unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "/test/down": grpc.unary_stream_rpc_method_handler(self.down),
            "/test/up": grpc.stream_unary_rpc_method_handler(self.up),
            "/test/both": grpc.stream_stream_rpc_method_handler(self.both),
            "/test/slow": grpc.unary_unary_rpc_method_handler(self.slow),
            "/test/fail": grpc.unary_unary_rpc_method_handler(self.fail),
        }.get(details.method)

    async def unary(self, request, context):
        self.names.add(real.loop_name())
        return request[::-1]

    async def down(self, request, context):
        for number in range(int(request)):
            yield b"%d" % number

    async def up(self, requests, context):
        return b"%d" % sum([int(request) async for request in requests])

    async def both(self, requests, context):
        async for request in requests:
            yield request * 2

    async def slow(self, request, context):
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.ends.put_nowait("cancelled")
            raise

    async def fail(self, request, context):
        await context.abort(grpc.StatusCode.NOT_FOUND, "as asked")


def test_all_kinds_of_calls(run_loosely, expected_loop):
    async def main():
        names, ends = set(), asyncio.Queue()
        server = grpc.aio.server()
        server.add_generic_rpc_handlers([Handler(names, ends)])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            unary = channel.unary_unary("/test/unary")
            calls = [unary(b"%d" % number) for number in range(100)]
            expected = [b"%d" % number for number in range(100)]
            assert [r[::-1] for r in await asyncio.gather(*calls)] == expected
            big = b"0123456789" * 200_000
            assert await unary(big) == big[::-1]

            down = channel.unary_stream("/test/down")(b"200")
            assert [int(n) async for n in down] == list(range(200))

            async def numbers():
                for number in range(100):
                    yield b"%d" % number

            assert await channel.stream_unary("/test/up")(numbers()) == b"4950"
            both = channel.stream_stream("/test/both")()
            for number in range(50):
                await both.write(b"%d" % number)
                assert await both.read() == b"%d" % number * 2
            await both.done_writing()
            assert await both.read() is grpc.aio.EOF

            slow = channel.unary_unary("/test/slow")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await slow(b"", timeout=0.2)
            assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            assert await asyncio.wait_for(ends.get(), 5) == "cancelled"
            call = slow(b"")
            await asyncio.sleep(0.1)
            assert call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await asyncio.wait_for(ends.get(), 5) == "cancelled"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/test/fail")(b"")
            assert caught.value.details() == "as asked"
        await server.stop(1)
        assert names == {expected_loop}

    run_loosely(main)
