#!/usr/bin/env python3
"""Other projects' own tests, on stock asyncio and on cloop.

    python tests/clients/upstream.py                     every suite
    python tests/clients/upstream.py uvicorn anyio       some
    python tests/clients/upstream.py --only 'test_server*' aiohttp
    python tests/clients/upstream.py --work DIR          keeps environments and results
    python tests/clients/upstream.py --work DIR --reuse  and takes stock's from there

Takes each project's source distribution and what its tests need from PyPI, into an
environment of its own, and runs every test file in a process of its own on each loop.
Listed is what passes on stock and does not on cloop: each must be explained by a line
of upstream_differences.txt, and a line that explains nothing any more is an error.
What differs is run once more, alone, and is a difference only if it fails again.

Exit status 0: no unexplained difference, no stale line. Needs pip and the network; the
interpreter that runs it, with cloop's own [test] extra, is the one the tests run on.
"""

import argparse
import concurrent.futures
import contextlib
import fnmatch
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LOOPS = ("stock", "cloop")
DIFFERENCES = HERE / "upstream_differences.txt"
TEST_SECONDS = 60
FILE_SECONDS = 600
SHOWN = 40


class Suite:
    """How one project's tests are found and run."""

    def __init__(self, name, version, files, needs=(), extras="", **options):
        self.name = name
        self.version = version
        self.files = files  # patterns below the unpacked distribution
        self.needs = list(needs)
        self.extras = extras
        self.options = options.pop("options", [])
        self.without = options.pop("without", ())  # files left out, with a reason each
        self.from_source = options.pop("from_source", False)
        self.service = options.pop("service", None)
        self.quiet_logger = options.pop("quiet_logger", "")  # its own runner's doing
        assert not options

    @property
    def requirement(self):
        return f"{self.name}{self.extras}=={self.version}"


SUITES = [
    Suite(
        "uvicorn",
        "0.54.0",
        ["tests/**/test_*.py"],
        needs=[
            "a2wsgi",
            "cryptography",
            "httpx2",
            "pytest-codspeed",
            "pytest-mock",
            "python-dotenv",
            "pyyaml",
            "trustme",
            "watchfiles",
            "websockets",
            "wsproto",
            "httptools",
        ],
        options=["-o", "addopts=-rxXs"],
        without={
            "tests/benchmarks/*": "benchmarks",
        },
    ),
    Suite(
        "anyio",
        "4.16.0",
        ["tests/**/test_*.py"],
        needs=["blockbuster", "hypothesis", "psutil", "pytest-mock", "trustme"]
        + ["truststore"],
        options=["-k", "not trio"],
        without={
            "tests/test_lazyimport.py": "no loop; builds a wheel",
            "tests/test_itertools.py": "no loop",
            "tests/test_functools.py": "no loop",
        },
    ),
    Suite(
        "aiohttp",
        "3.14.5",
        ["tests/test_*.py"],
        needs=["blockbuster", "freezegun", "isal", "zlib-ng", "proxy.py", "trustme"]
        + ["pytest-mock", "pytest-codspeed", "pytest-cov", "re-assert", "setuptools"]
        + ["python-on-whales"],
        extras="[speedups]",
        options=[
            "-o",
            "addopts=",
            "-m",
            "not dev_mode and not autobahn and not internal",
        ]
        + ["-p", "no:cov"],
        without={
            "tests/test_benchmarks_*.py": "benchmarks",
        },
    ),
    Suite(
        "asyncpg",
        "0.32.0",
        ["tests/test_*.py"],
        needs=["distro"],
        options=["-o", "addopts=--import-mode=importlib"],
        without={
            "tests/test__sourcecode.py": "looks for a checkout",
            "tests/test_subinterpreters.py": "no loop",
        },
        service="postgres",
    ),
    Suite(
        "tornado",
        "6.6.1",
        ["tornado/test/*_test.py"],
        options=["-o", "python_files=*_test.py"],
        from_source=True,
        quiet_logger="tornado.access",
        without={
            "tornado/test/curl_httpclient_test.py": "wants pycurl",
            "tornado/test/twisted_test.py": "wants twisted",
        },
    ),
    Suite(
        "aiofiles",
        "25.1.0",
        ["tests/**/test_*.py"],
        needs=["pytest-asyncio"],
    ),
    Suite(
        "aioftp",
        "0.28.3",
        ["tests/test_*.py"],
        needs=["async_timeout", "pytest-asyncio", "pytest-mock", "siosocks"]
        + ["trustme"],
        options=["-o", "addopts=-p no:anyio --import-mode=importlib"],
    ),
    Suite(
        "aiosmtpd",
        "1.4.6",
        ["aiosmtpd/tests/test_*.py"],
        needs=["pytest<9", "pytest-asyncio<1", "pytest-mock", "setuptools<80"],
        options=["-o", "addopts=", "-o", "filterwarnings="],
        from_source=True,
    ),
    Suite(
        "asyncssh",
        "2.24.1",
        ["tests/test_*.py"],
        needs=["bcrypt", "fido2", "ifaddr", "pyOpenSSL"],
        # As root, who may read everything, these leave a connection that never ends.
        options=["-k", "not not_readable"],
    ),
    Suite(
        "gunicorn",
        "27.0.1",
        # Those of its asyncio side: the ASGI worker, HTTP/2, and the "dirty" workers.
        ["tests/test_asgi*.py", "tests/test_http2_*.py", "tests/test_dirty_*.py"]
        + ["tests/ctl/test_*.py", "tests/dirty/test_*.py"],
        needs=["gevent", "h2", "httpx[http2]", "inotify", "pytest-asyncio"],
        options=["-o", "addopts=--assert=plain"],
    ),
    Suite(
        "hypercorn",
        "0.18.0",
        ["tests/**/test_*.py"],
        needs=["httpx", "hypothesis", "mock", "pytest-asyncio", "pytest-trio", "trio"],
        extras="[h3]",
        options=["-o", "addopts="],
        without={
            "tests/trio/*": "no loop of asyncio's",
        },
    ),
    Suite(
        "janus",
        "2.0.0",
        ["tests/test_*.py"],
        needs=["pytest-asyncio", "pytest-codspeed"],
        options=["-o", "addopts="],
        without={
            "tests/test_benchmarks.py": "benchmarks",
        },
    ),
    Suite(
        "picows",
        "2.3.1",
        ["tests/test_*.py"],
        needs=["anyio", "async_timeout", "pytest-asyncio", "python-socks[asyncio]"]
        + ["tiny-proxy", "uvloop", "websockets"],
        # 10 us for an answer, which cloop's server gives in time.
        options=["-k", "not test_client_handshake_timeout"],
        without={
            "tests/test_benchmarks.py": "benchmarks",
        },
    ),
    Suite(
        "redis",
        "8.1.0",
        ["tests/test_asyncio/test_*.py"],
        needs=["cachetools", "httpx", "mock", "numpy", "opentelemetry-sdk", "pybreaker"]
        + ["pyjwt", "pytest-asyncio", "redis-entraid", "requests", "xxhash"],
        options=["-m", "not onlycluster and not redismod and not ssl"],
        service="redis",
    ),
    Suite(
        "starlette",
        "1.10.0",
        ["tests/**/test_*.py"],
        needs=["blockbuster", "httpx2[zstd]", "opentelemetry-sdk", "pytest-codspeed"]
        + ["trio"],
        extras="[full]",
        options=["-k", "not trio"],
    ),
    Suite(
        "zeroconf",
        "0.154.0",
        ["tests/**/test_*.py"],
        needs=["hypothesis", "pytest-asyncio", "pytest-codspeed"],
        options=["-o", "addopts=", "-o", "pythonpath="],
        without={
            "tests/benchmarks/*": "benchmarks",
        },
    ),
]


# -- environments ----------------------------------------------------------------------


class Environment:
    """A suite, unpacked and installed below a folder."""

    def __init__(self, suite, folder):
        self.suite = suite
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        self.source = folder / "source"

    def prepare(self):
        if (self.folder / "ready").exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self.unpack()
        venv.create(self.folder / "venv", with_pip=True)
        needs = ["pytest", "pytest-timeout", *self.suite.needs]
        pip = [self.python, "-m", "pip", "--disable-pip-version-check", "-q"]
        subprocess.run([*pip, "install", self.suite.requirement, *needs], check=True)
        (self.folder / "ready").touch()

    def unpack(self):
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
        requirement = f"{self.suite.name}=={self.suite.version}"
        env = dict(os.environ, AIOHTTP_NO_EXTENSIONS="1")
        subprocess.run(
            [*pip, "download", "--no-binary", self.suite.name, "--no-deps"]
            + ["-d", self.folder, requirement],
            check=True,
            env=env,
        )
        (archive,) = self.folder.glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            if hasattr(tarfile, "data_filter"):
                tar.extractall(self.folder, filter="data")
            else:
                tar.extractall(self.folder)
        (unpacked,) = self.folder.glob(f"{archive.name[: -len('.tar.gz')]}/")
        if not self.suite.from_source:
            self.strip_package(unpacked)
        unpacked.rename(self.source)

    def strip_package(self, unpacked):
        """The installed package is tested, not the one beside the tests."""
        package = unpacked / self.suite.name
        if package.is_dir():
            package.rename(unpacked / "package-as-distributed")

    def test_files(self):
        found = {}
        for pattern in self.suite.files:
            for path in self.source.glob(pattern):
                name = str(path.relative_to(self.source))
                left_out = (fnmatch.fnmatch(name, p) for p in self.suite.without)
                if not any(left_out):
                    found[name] = path
        return sorted(found)


# -- running ---------------------------------------------------------------------------


def cloop_path():
    """The folder to import cloop from: the installed one, or this clone."""
    code = "import cloop; print(cloop.__path__[-1])"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    return str(Path(found.stdout.decode().strip()).parent)


def without_address(test):
    return re.sub(r"0x[0-9a-f]{4,}", "0x", test)


class Run:
    """One test file on one loop, in as many processes as it takes."""

    def __init__(self, environment, loop, file, record, extra_env):
        self.environment = environment
        self.loop = loop
        self.file = file
        self.record = record
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
        self.env.pop("CI", None)
        self.env.update(
            extra_env,
            UPSTREAM_LOOP=loop,
            UPSTREAM_RECORD=str(record),
            UPSTREAM_QUIET_LOGGER=environment.suite.quiet_logger,
            PYTHONPATH=os.pathsep.join([str(HERE), cloop_path.result]),
            PYTHONDONTWRITEBYTECODE="1",
        )
        self.env.pop("PYTHONWARNINGS", None)

    def records(self):
        if not self.record.exists():
            return []
        with open(self.record) as file:
            return [json.loads(line) for line in file]

    def run(self, tests=()):
        """test -> record. A process that dies costs the test it was running."""
        for _ in range(30):
            ended = self.run_process(tests)
            records = self.records()
            done = {r["test"] for r in records if "test" in r}
            started = [r["started"] for r in records if "started" in r]
            if not started or started[-1] in done:
                break
            with open(self.record, "a") as file:
                lost = {"test": started[-1], "outcome": "failed", "why": ended}
                file.write(json.dumps(lost) + "\n")
        return {without_address(r["test"]): r for r in self.records() if "test" in r}

    def run_process(self, tests):
        """How it ended, in words."""
        command = [
            self.environment.python,
            "-m",
            "pytest",
            "-q",
            "-p",
            "upstream_plugin",
        ]
        command += ["-p", "no:cacheprovider", *self.environment.suite.options]
        command += ["-o", f"timeout={TEST_SECONDS}", "-o", "timeout_method=signal"]
        command += tests or [self.file]
        with open(self.record.with_suffix(".log"), "ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.environment.source,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(FILE_SECONDS)
                return f"the process ended with {code}"
            except subprocess.TimeoutExpired:
                return "the process hung"
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@contextlib.contextmanager
def service(name):
    """What the suite's environment variables must say about a server of ours."""
    if name is None:
        yield {}
        return
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    import certificate_files
    import servers

    kind, environment = {
        "postgres": (servers.Postgres, postgres_environment),
        "redis": (servers.Redis, redis_environment),
    }[name]
    with contextlib.ExitStack() as stack:
        certificates = stack.enter_context(certificate_files.made())
        yield environment(stack.enter_context(servers.running(kind, certificates)))


def postgres_environment(server):
    return {
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": server.user,
        "PGDATABASE": server.database,
    }


def redis_environment(server):
    return {"PYTEST_ADDOPTS": f"--redis-url=redis://{server.host}:{server.port}/0"}


def run_suite(suite, options):
    """loop -> test -> record."""
    environment = Environment(suite, options.work / f"{suite.name}-{suite.version}")
    environment.prepare()
    files = [f for f in environment.test_files() if fnmatch.fnmatch(f, options.only)]
    results = {loop: {} for loop in LOOPS}
    folder = environment.folder / "records"
    folder.mkdir(exist_ok=True)

    def record(loop, file, kind=""):
        return folder / f"{file.replace('/', '.')}{kind}.{loop}.jsonl"

    def run(file, env):
        for loop in LOOPS:
            path = record(loop, file)
            if not (options.reuse and loop == "stock") and path.exists():
                path.unlink()
            results[loop].update(Run(environment, loop, file, path, env).run())

    def run_again(tests, env):
        for number, test in enumerate(tests):
            again = record("cloop", test.split("::")[0], f".again{number}")
            if again.exists():
                again.unlink()
            name = results["stock"][test]["test"]
            found = Run(environment, "cloop", "", again, env).run([name])
            if test in found and found[test]["outcome"] == "passed":
                print(f"  passed when run again: {test}")
                results["cloop"][test] = found[test]

    with contextlib.ExitStack() as stack:
        if suite.service:  # one server cannot serve two test files at once
            jobs = 1
            env = stack.enter_context(service(suite.service))
        else:
            jobs, env = options.jobs, {}
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(jobs))
        list(pool.map(lambda file: run(file, env), files))
        different = differences(results)
        if len(different) <= 50:
            run_again(different, env)
    return results


# -- comparing -------------------------------------------------------------------------


def differences(results):
    """The tests that pass on stock and do not on cloop."""
    passed = [t for t, r in results["stock"].items() if r["outcome"] == "passed"]
    cloop = results["cloop"]
    return [t for t in passed if t not in cloop or cloop[t]["outcome"] != "passed"]


class Explanations:
    """upstream_differences.txt: "suite test: reason" lines; * stands for anything."""

    def __init__(self, path):
        self.lines = []
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line.strip() and not line.startswith("#"):
                what, separator, reason = line.partition(": ")
                suite, _, test = what.partition(" ")
                assert separator and test and reason.strip(), f"line {number}: {line}"
                self.lines.append([suite, test.strip(), False, number])

    def explain(self, suite, test):
        found = False
        for line in self.lines:
            pattern = "".join("[[]" if c == "[" else c for c in line[1])
            if line[0] == suite and fnmatch.fnmatchcase(test, pattern):
                line[2] = found = True
        return found

    def stale(self, suites):
        return [line for line in self.lines if line[0] in suites and not line[2]]


def count(records, outcome):
    return sum(record["outcome"] == outcome for record in records.values())


def report(suite, results, explanations, verbose):
    """Prints the suite's part; the number of unexplained differences."""
    stock, cloop = results["stock"], results["cloop"]
    unexplained = []
    explained = 0
    for test in differences(results):
        if explanations.explain(suite.name, test):
            explained += 1
        else:
            unexplained.append(test)
    on_cloop = sum(1 for r in cloop.values() if r.get("loops", {}).get("cloop"))
    on_stock = sum(
        1
        for r in cloop.values()
        if r.get("loops", {}).get("stock") and not r["loops"].get("cloop")
    )
    print(
        f"| {suite.name} {suite.version} | {len(stock)} | {count(stock, 'passed')} "
        f"| {count(cloop, 'passed')} | {explained} | {len(unexplained)} "
        f"| {on_cloop} | {on_stock} |",
        flush=True,
    )
    for test in unexplained[:SHOWN]:
        record = cloop.get(test, {"outcome": "not run", "why": ""})
        why = (record.get("why") or "").strip().splitlines()
        print(f"  {record['outcome']}: {test}")
        for line in why[-25:] if verbose else why[-1:]:
            print(f"      {line}")
    if len(unexplained) > SHOWN:
        print(f"  and {len(unexplained) - SHOWN} more")
    return len(unexplained)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [suite.name for suite in SUITES]
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join(names))
    parser.add_argument("--only", default="*", help="a pattern for test files")
    parser.add_argument("--work", type=Path, help="a folder that is kept")
    parser.add_argument(
        "--reuse", action="store_true", help="stock's results of --work"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args()
    if not set(options.suites) <= set(names):
        parser.error(f"suites are {', '.join(names)}")
    chosen = [s for s in SUITES if not options.suites or s.name in options.suites]
    cloop_path.result = cloop_path()
    explanations = Explanations(DIFFERENCES)
    with contextlib.ExitStack() as stack:
        if options.work is None:
            folder = tempfile.TemporaryDirectory(prefix="upstream-")
            options.work = Path(stack.enter_context(folder))
        options.work = options.work.resolve()
        print("| suite | tests | pass on stock | pass on cloop | explained ", end="")
        print("| not explained | made a cloop.Loop | made only stock loops |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
        bad = 0
        for suite in chosen:
            results = run_suite(suite, options)
            bad += report(suite, results, explanations, options.verbose)
            if not count(results["stock"], "passed"):
                print(f"{suite.name}: no test passes on stock")
                bad += 1
    if options.only == "*":
        for suite, test, _, number in explanations.stale([s.name for s in chosen]):
            print(f"{DIFFERENCES.name}:{number}: explains nothing: {suite} {test}")
            bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
