"""pytest-asyncio and pytest-aiohttp with cloop as their loop factory, each by the means
that its own documentation names."""

import sys
import textwrap

import pytest
import real

real.need("pytest_asyncio")
real.need("pytest_aiohttp")
real.need("aiohttp")

CONFTESTS = {
    "hook": """
        import asyncio, real

        def pytest_asyncio_loop_factories(config, item):
            return {"under test": FACTORY}
    """,
    "policy": """
        import asyncio, pytest, real

        @pytest.fixture(scope="session")
        def event_loop_policy():
            return POLICY
    """,
    "install": """
        import asyncio, real
        INSTALL
    """,
}
NAMES = {
    "cloop": {
        "FACTORY": "__import__('cloop').new_event_loop",
        "POLICY": "__import__('cloop').EventLoopPolicy()",
        "INSTALL": "__import__('cloop').install()",
    },
    "stock": {
        "FACTORY": "asyncio.SelectorEventLoop",
        "POLICY": "asyncio.DefaultEventLoopPolicy()",
        "INSTALL": "",
    },
}
ASYNCIO_TESTS = """
    import asyncio, pytest, pytest_asyncio, real

    pytestmark = pytest.mark.asyncio
    EXPECTED = {expected!r}

    @pytest_asyncio.fixture
    async def server():
        async def echo(reader, writer):
            writer.write(await reader.readline())
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        yield server
        assert real.loop_name() == EXPECTED
        server.close()
        await server.wait_closed()

    @pytest_asyncio.fixture
    async def queue():
        queue = asyncio.Queue()
        yield queue
        assert queue.empty()

    async def test_echo(server):
        assert real.loop_name() == EXPECTED
        host, port = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"hello\\n")
        assert await reader.read() == b"hello\\n"
        writer.close()
        await writer.wait_closed()

    async def test_queue(queue):
        assert real.loop_name() == EXPECTED
        asyncio.get_running_loop().call_later(0.01, queue.put_nowait, 1)
        assert await queue.get() == 1

    @pytest.mark.xfail(strict=True)
    async def test_that_fails():
        await asyncio.sleep(0)
        assert real.loop_name() == "something else"

    @pytest.mark.asyncio(loop_scope="module")
    class TestShared:
        loop = None

        async def test_one(self):
            type(self).loop = asyncio.get_running_loop()

        async def test_two(self):
            assert asyncio.get_running_loop() is self.loop
            assert real.loop_name() == EXPECTED
"""
AIOHTTP_TESTS = """
    import asyncio, real
    from aiohttp import web

    EXPECTED = {expected!r}

    async def which(request):
        return web.Response(text=real.loop_name())

    async def test_client(aiohttp_client):
        app = web.Application()
        app.router.add_get("/", which)
        client = await aiohttp_client(app)
        async with client.get("/") as response:
            assert await response.text() == EXPECTED
        assert real.loop_name() == EXPECTED

    async def test_server(aiohttp_server):
        app = web.Application()
        app.router.add_get("/", which)
        server = await aiohttp_server(app)
        assert server.port
        assert real.loop_name() == EXPECTED
"""


def run_pytest(program, folder, conftest, tests, *options):
    (folder / "conftest.py").write_text(textwrap.dedent(conftest))
    (folder / "test_them.py").write_text(textwrap.dedent(tests))
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    # Options meant for the tests around these are not theirs.
    env = real.child_env()
    env.pop("PYTEST_ADDOPTS", None)
    child = program([*command, "test_them.py"], cwd=str(folder), env=env)
    code = child.process.wait(50)
    assert code == 0, child.output()
    return child.output()


@pytest.fixture(params=sorted(CONFTESTS))
def conftest(request, impl):
    source = CONFTESTS[request.param]
    for name, value in NAMES[impl.name].items():
        source = source.replace(name, value)
    return source


def test_pytest_asyncio(program, tmp_path, conftest, expected_loop):
    tests = ASYNCIO_TESTS.format(expected=expected_loop)
    options = ["-p", "no:pytest-aiohttp", "-p", "no:aiohttp"]
    output = run_pytest(program, tmp_path, conftest, tests, *options)
    assert "4 passed, 1 xfailed" in output


def test_pytest_aiohttp(program, tmp_path, conftest, expected_loop):
    tests = AIOHTTP_TESTS.format(expected=expected_loop)
    output = run_pytest(program, tmp_path, conftest, tests, "--asyncio-mode=auto")
    assert "2 passed" in output
