"""Dask distributed: a LocalCluster on our loop, and one whose scheduler and workers are
processes on loops of their own."""

import sys

import pytest
import real

real.need("dask")
distributed = real.need("distributed")


def test_cluster_in_our_loop(run_loosely, expected_loop):
    async def main():
        async with distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            asynchronous=True,
            dashboard_address=None,
            protocol="tcp://",
            host="127.0.0.1",
        ) as cluster:
            async with distributed.Client(cluster, asynchronous=True) as client:

                async def which_loop():
                    return real.loop_name()

                loops = await client.run(which_loop)
                assert list(loops.values()) == [expected_loop] * 2
                assert await client.run_on_scheduler(which_loop) == expected_loop
                futures = client.map(lambda n: n * n, range(100))
                total = client.submit(sum, futures)
                assert await total == sum(n * n for n in range(100))
                big = await client.submit(bytes, 3_000_000)
                assert len(big) == 3_000_000

    run_loosely(main)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_cluster_of_processes(impl, program, expected_loop):
    command = [sys.executable, real.APPS / "dask_program.py", impl.name]
    child = program(command)
    assert child.process.wait(100) == 0, child.output()
    kinds = ("workers", "scheduler", "sum", "nested", "blob", "error")
    lines = child.output().splitlines()
    assert [line for line in lines if line.startswith(kinds)] == [
        "workers " + expected_loop,
        "scheduler " + expected_loop,
        "sum 39800",
        "nested 90",
        "blob 5000000",
        "error ZeroDivisionError('division by zero')",
        "workers " + expected_loop,
    ]
