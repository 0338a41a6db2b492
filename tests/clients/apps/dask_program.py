"""A Dask program of the ordinary kind, whose scheduler and worker processes run on the
loop that its first lines choose. The worker processes are spawned and import this file
once more, so that they choose it too."""

import sys

import dask.config

if "cloop" in sys.argv[1:]:
    import cloop

    cloop.install()

from distributed import Client, LocalCluster, get_client


def add(a, b):
    return a + b


def nested(number):
    client = get_client()
    return sum(client.gather(client.map(add, range(number), range(number))))


async def which_loop():
    from real import loop_name

    return loop_name()


def main():
    dask.config.set({"distributed.admin.event-loop": "asyncio"})
    with LocalCluster(
        n_workers=2, threads_per_worker=2, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        with Client(cluster) as client:
            loops = client.run(which_loop)
            assert len(loops) == 2
            print("workers", *set(loops.values()))
            print("scheduler", client.run_on_scheduler(which_loop))
            futures = client.map(add, range(200), range(200))
            print("sum", client.submit(sum, futures).result(timeout=30))
            print("nested", client.submit(nested, 10).result(timeout=30))
            blob = client.submit(bytes, 5_000_000)
            print("blob", len(blob.result(timeout=30)))
            failed = client.submit(lambda: 1 / 0)
            print("error", repr(failed.exception(timeout=30)))
            client.restart(timeout=30)
            loops = client.run(which_loop)
            print("workers", *set(loops.values()))


if __name__ == "__main__":
    main()
