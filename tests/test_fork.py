"""What a child process finds after os.fork()."""

import sys

import pytest
from support import PY, cloop_only, run_program

CHILD = """
def in_child(function):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    return pid

def wait(pid):
    status = os.waitpid(pid, 0)[1]
    assert status == 0, status
"""

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks on Linux"),
]


def run_forking(impl, source, **options):
    import textwrap

    return run_program(
        impl,
        CHILD + textwrap.dedent(source),
        options=("-W", "ignore"),
        timeout=60,
        **options,
    )


def test_child_sees_no_running_loop(impl):
    run_forking(
        impl,
        """
        async def main():
            def child():
                assert asyncio._get_running_loop() is None
                try:
                    asyncio.get_running_loop()
                except RuntimeError as exc:
                    assert str(exc) == 'no running event loop'
                else:
                    raise AssertionError
            wait(in_child(child))
            assert asyncio.get_running_loop() is loop
        loop = new_event_loop()
        loop.run_until_complete(main())
        loop.close()
        """,
    )


def test_child_runs_a_new_loop(impl):
    run_forking(
        impl,
        """
        async def work(n):
            await asyncio.sleep(0.001)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(None, lambda: n * 2)

        def child():
            loop = new_event_loop()
            assert loop.run_until_complete(work(5)) == 10
            loop.close()

        async def main():
            await asyncio.sleep(0)
            pids = [in_child(child) for _ in range(3)]
            for pid in pids:
                wait(pid)
            return await work(1)

        loop = new_event_loop()
        assert loop.run_until_complete(main()) == 2
        wait(in_child(child))
        loop.close()
        """,
    )


def test_child_of_an_idle_loop_goes_on_with_it(impl):
    """A loop made before the fork and run only in the child."""
    run_forking(
        impl,
        """
        loop = new_event_loop()
        def child():
            a, b = __import__('socket').socketpair()
            a.setblocking(False)
            async def main():
                loop.call_later(0.005, b.send, b'x')
                return await loop.sock_recv(a, 1)
            assert loop.run_until_complete(main()) == b'x'
            assert loop.run_until_complete(asyncio.sleep(0.001, 5)) == 5
            loop.close()
        wait(in_child(child))
        assert loop.run_until_complete(asyncio.sleep(0.001, 6)) == 6
        loop.close()
        """,
    )


def test_closing_the_inherited_loop_leaves_the_parents_alone(impl):
    cloop_only(impl, "stock's child takes the self-pipe out of the shared epoll set")
    run_forking(
        impl,
        """
        import socket
        a, b = socket.socketpair()
        a.setblocking(False)
        loop = new_event_loop()
        seen = []
        loop.add_reader(a, lambda: seen.append(a.recv(1)))
        loop.run_until_complete(asyncio.sleep(0.001))

        def child():
            loop.remove_reader(a)
            loop.close()
        wait(in_child(child))

        threading.Timer(0.01, loop.call_soon_threadsafe, [seen.append, 'woken']).start()
        b.send(b'x')
        loop.run_until_complete(asyncio.sleep(0.1))
        assert sorted(map(str, seen)) == ["b'x'", 'woken'], seen
        # and in the other direction: the poll is still woken by a thread
        threading.Timer(0.02, loop.call_soon_threadsafe, [loop.stop]).start()
        loop.run_forever()
        loop.close()
        """,
    )


def test_child_collects_the_inherited_running_loop(impl):
    cloop_only(impl, "stock's child closes the shared epoll set's registrations")
    run_forking(
        impl,
        """
        import gc
        async def main():
            def child():
                global loop
                asyncio.set_event_loop(None)
                loop = new_event_loop()
                gc.collect()
                loop.run_until_complete(asyncio.sleep(0.001))
                loop.close()
            wait(in_child(child))
            await asyncio.sleep(0.001)
            threading.Timer(0.01, mine.call_soon_threadsafe, [mine.stop]).start()
        mine = loop = new_event_loop()
        loop.run_until_complete(main())
        mine.run_forever()
        mine.close()
        """,
    )


def test_child_registrations_are_its_own(impl):
    cloop_only(impl, "stock shares its epoll set with the child")
    run_forking(
        impl,
        """
        import socket
        loop = new_event_loop()
        a, b = socket.socketpair()
        c, d = socket.socketpair()
        seen = []
        loop.add_reader(a, lambda: seen.append(a.recv(1)))
        loop.run_until_complete(asyncio.sleep(0))

        def child():
            loop.add_reader(c, lambda: seen.append(c.recv(1)))
            d.send(b'c')
            b.send(b'a')
            loop.call_later(0.05, loop.stop)
            loop.run_forever()
            assert sorted(seen) == [b'a', b'c'], seen
            loop.close()
        wait(in_child(child))
        d.send(b'x')
        b.send(b'p')
        loop.call_later(0.05, loop.stop)
        loop.run_forever()
        assert seen == [b'p'], seen
        loop.close()
        """,
    )


def test_signals_in_a_child_forked_from_a_thread(impl):
    run_forking(
        impl,
        """
        def child():
            loop = new_event_loop()
            seen = []
            loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
            loop.call_later(0.05, loop.stop)
            loop.call_later(0.005, os.kill, os.getpid(), signal.SIGUSR1)
            loop.run_forever()
            assert seen == [1]
            loop.remove_signal_handler(signal.SIGUSR1)
            loop.close()

        result = []
        def thread():
            pid = in_child(child)
            result.append(os.waitpid(pid, 0)[1])
        t = threading.Thread(target=thread)
        t.start()
        t.join()
        assert result == [0], result
        """,
    )


def test_signals_in_the_child_do_not_reach_the_parents_loop(impl):
    cloop_only(impl, "stock's wakeup descriptor is shared with the child")
    run_forking(
        impl,
        """
        loop = new_event_loop()
        seen = []
        loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
        def child():
            new = new_event_loop()
            new.add_signal_handler(signal.SIGUSR1, lambda: None)
            os.kill(os.getpid(), signal.SIGUSR1)
            new.run_until_complete(asyncio.sleep(0.01))
            new.remove_signal_handler(signal.SIGUSR1)
            new.close()
        wait(in_child(child))
        loop.run_until_complete(asyncio.sleep(0.02))
        assert seen == [], seen
        os.kill(os.getpid(), signal.SIGUSR1)
        loop.run_until_complete(asyncio.sleep(0.02))
        assert seen == [1], seen
        loop.remove_signal_handler(signal.SIGUSR1)
        loop.close()
        """,
    )


def test_multiprocessing_fork(impl):
    done = run_program(
        impl,
        """
        import multiprocessing

        def work(n):
            loop = new_event_loop()
            try:
                return loop.run_until_complete(asyncio.sleep(0.001, n * 2))
            finally:
                loop.close()

        async def main():
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(None, pool.map, work, range(6))

        context = multiprocessing.get_context('fork')
        pool = context.Pool(2)
        loop = new_event_loop()
        print(loop.run_until_complete(main()))
        pool.close()
        pool.join()
        loop._default_executor.shutdown(wait=True)
        loop.close()
        """,
        options=("-W", "ignore"),
    )
    assert done.stdout.strip() == "[0, 2, 4, 6, 8, 10]"


def test_getaddrinfo_after_fork(impl):
    run_forking(
        impl,
        """
        async def main():
            loop = asyncio.get_running_loop()
            assert await loop.getaddrinfo('localhost', 80)
            assert await loop.getaddrinfo('127.0.0.1', 80)
        loop = new_event_loop()
        loop.run_until_complete(main())
        def child():
            new = new_event_loop()
            new.run_until_complete(main())
            new.close()
        wait(in_child(child))
        loop.run_until_complete(main())
        loop.close()
        """,
    )


def test_all_tasks_in_the_child(impl):
    run_forking(
        impl,
        """
        async def main():
            other = asyncio.ensure_future(asyncio.sleep(0.01))
            def child():
                new = new_event_loop()
                async def inside():
                    assert asyncio.all_tasks() == {asyncio.current_task()}
                    return 5
                assert new.run_until_complete(inside()) == 5
                new.close()
            wait(in_child(child))
            await other
        loop = new_event_loop()
        loop.run_until_complete(main())
        loop.close()
        """,
    )


def test_fork_in_a_threadsafe_storm(impl):
    """A fork while other threads hold what they hold: the child's own loop works."""
    if PY < (3, 8):
        pytest.skip("")
    run_forking(
        impl,
        """
        loop = new_event_loop()
        stop = False
        def post():
            while not stop:
                loop.call_soon_threadsafe(int)
                time.sleep(0)
        def child():
            new = new_event_loop()
            thread = threading.Timer(0.005, new.call_soon_threadsafe, [new.stop])
            thread.start()
            new.run_forever()
            thread.join()
            new.close()
        async def main():
            for _ in range(10):
                await asyncio.sleep(0.001)
                wait(in_child(child))
        thread = threading.Thread(target=post)
        thread.start()
        loop.run_until_complete(main())
        stop = True
        thread.join()
        loop.close()
        """,
    )
