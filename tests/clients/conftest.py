"""Fixtures for the tests against real libraries and servers: see real.py.

Every test runs on cloop and on stock asyncio through `impl`, and says on which loop the
library really ran.
"""

import asyncio

import certificate_files
import pytest
import real
import servers


@pytest.fixture
def run_loosely(impl):
    """Runs a coroutine function on a new loop of the implementation under test."""

    def run(function, *args, timeout=30):
        reports = []

        async def main():
            real.check_loop(impl)
            asyncio.get_running_loop().set_exception_handler(
                lambda loop, context: reports.append(context)
            )
            return await asyncio.wait_for(function(*args), timeout)

        result = impl.run(main())
        assert not reports
        return result

    return run


@pytest.fixture
def run(run_loosely, no_fd_leak):
    """run_loosely for libraries that close what they open: every descriptor is."""
    return run_loosely


@pytest.fixture
def program():
    """Starts child processes; what still runs after the test is killed."""
    started = []

    def start(command, **options):
        options.setdefault("env", real.child_env())
        child = real.Program(command, **options)
        started.append(child)
        return child

    yield start
    for child in started:
        child.close()


@pytest.fixture
def expected_loop(impl):
    """What real.loop_name() says in a child that runs on the loop under test."""
    return real.LOOP_NAMES[impl.name]


@pytest.fixture
def expected_tls(impl):
    """What real.tls_transports() says in a child that runs on the loop under test."""
    return [real.TLS_TRANSPORTS[impl.name]]


@pytest.fixture(scope="session")
def certificates():
    with certificate_files.made() as found:
        yield found


@pytest.fixture(scope="session")
def postgres(certificates):
    with servers.running(servers.Postgres, certificates) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(certificates):
    with servers.running(servers.Redis, certificates) as server:
        yield server
