"""Fails the n-th allocation of OpenSSL's own in one TLS connection, for every n.

    python openssl_memory.py stock|cloop OPERATION SHIM [FIRST [LAST [STEP]]]

OPERATION is one of nomemory.py's over TLS, SHIM the shared object made of
tests/c/failing_malloc.c, which OpenSSL takes as its allocator: before it has made
anything, so before `ssl` is imported. Each n has a fork of its own with a time limit.
What may come of it is success, MemoryError, an ssl.SSLError or the loss of the
connection; and a loop that can be closed. Exit status 77: this OpenSSL does not take
the allocator.
"""

import ctypes
import gc
import logging
import os
import signal
import sys
import warnings

LIMIT_SECONDS = 5
ENOUGH_SPARED = 3  # attempts in a row that never came to their n-th allocation
FINE, SPARED = 0, 1
NOT_TAKEN = 77


def install(shim):
    """Makes OpenSSL allocate through the shim. False when it is too late for that."""
    try:
        crypto = ctypes.CDLL("libcrypto.so.3")
    except OSError:
        return False
    functions = [
        ctypes.cast(getattr(shim, "failing_" + name), ctypes.c_void_p)
        for name in ("malloc", "realloc", "free")
    ]
    return crypto.CRYPTO_set_mem_functions(*functions) == 1


def spare_creation(shim):
    """No failures in SSL_new: _ssl itself (3.12's) does not survive them."""
    import ssl

    create = ssl.SSLObject._create.__func__

    def spared(cls, *args, **kwargs):
        left = shim.arm(-1)
        try:
            return create(cls, *args, **kwargs)
        finally:
            shim.arm(left)

    ssl.SSLObject._create = classmethod(spared)


def attempt(operation, shim, n):
    """In the child: its exit status, or an exception."""
    import asyncio
    import ssl

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(LIMIT_SECONDS)
    loop = nomemory.NEW()
    loop.set_exception_handler(lambda loop, context: loop.stop())
    shim.arm(n)
    try:
        operation(loop)
    except (MemoryError, ssl.SSLError, ConnectionError):
        pass
    except OSError as exc:  # what 3.14's _ssl makes of an end without a reason
        if exc.args != (0, "Error"):
            raise
    except RuntimeError as exc:
        if "stopped before" not in str(exc):
            raise
    spent = shim.is_spent()
    shim.arm(-1)
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.set_exception_handler(nomemory.callback)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    gc.collect()
    return FINE if spent else SPARED


def run(operation, shim, n):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 2
        try:
            status = attempt(operation, shim, n)
        except BaseException as exc:
            os.write(1, ("n=%d: %r\n" % (n, exc)).encode())
        os._exit(status)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        what = "hung" if number == signal.SIGALRM else "died of signal %d" % number
        print("n=%d: %s" % (n, what))
        return None
    code = os.WEXITSTATUS(status)
    return code if code in (FINE, SPARED) else None


def sweep(name, shim, first=0, last=20000, step=1):
    operation = nomemory.OPERATIONS[name]
    nomemory.make_contexts(name.split("_")[-1])
    for _ in range(3):
        loop = nomemory.NEW()
        operation(loop)
        loop.close()
    spare_creation(shim)
    gc.collect()
    gc.freeze()
    failed = faults = spared = 0
    for n in range(first, last, step):
        code = run(operation, shim, n)
        failed += code == FINE
        faults += code is None
        spared = spared + 1 if code == SPARED else 0
        if spared >= ENOUGH_SPARED or faults > 20:
            break
    print("%s: %d allocations failed, %d faults" % (name, failed, faults))
    return faults


def main():
    global nomemory  # which imports asyncio, and that ssl
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    shim = ctypes.CDLL(sys.argv[3])
    shim.arm.restype, shim.arm.argtypes = ctypes.c_long, [ctypes.c_long]
    if not install(shim):
        return NOT_TAKEN
    import asyncio

    import nomemory

    nomemory.NEW = asyncio.SelectorEventLoop
    if sys.argv[1] == "cloop":
        import cloop

        nomemory.NEW = cloop.new_event_loop
    return 1 if sweep(sys.argv[2], shim, *map(int, sys.argv[4:])) else 0


if __name__ == "__main__":
    sys.exit(main())
