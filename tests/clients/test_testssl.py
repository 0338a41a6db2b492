"""testssl.sh against our server: it finds what it finds in stock's with the same
context, and no more."""

import json

import pytest
import real
from impls import Cloop, Stock

TESTSSL = real.need_program("testssl", "/opt/testssl*")
OPTIONS = "--warnings off --color 0 --quiet --nodns none --ip 127.0.0.1 --fast".split()
# Protocols, and all vulnerabilities but those of HTTP and of ciphers as such.
CHECKS = ["-p", "-H", "-I", "-T", "-BB", "-R", "-C", "-O", "-Z", "-F", "-J", "-D"]
OF_THE_TOOL = {"engine_problem", "scanTime", "scanProblem"}


def start_server(program, certificates, impl, *way):
    command = real.python_on(
        impl, real.APPS / "tls_app.py", certificates.chain, certificates.key, *way
    )
    server = program(command)
    return server.wait_for_output(r"port (\d+)").group(1)


def start_scan(program, port, path):
    return program(
        [TESTSSL, *OPTIONS, *CHECKS, "--jsonfile", path, f"localhost:{port}"]
    )


def findings(path):
    found = json.loads(path.read_text())
    return {
        each["id"]: (each["severity"], each["finding"])
        for each in found
        if each["id"] not in OF_THE_TOOL
    }


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_it_finds_no_more_than_in_stock_s_server(program, certificates, tmp_path):
    servers = {
        "stock": (Stock(),),
        "direct": (Cloop(), "direct"),
        "portable": (Cloop(), "portable"),
    }
    scans = {}
    for name, arguments in servers.items():
        port = start_server(program, certificates, *arguments)
        scans[name] = start_scan(program, port, tmp_path / name)
    for scan in scans.values():
        assert scan.process.wait(150) < 128, scan.output()
    found = {name: findings(tmp_path / name) for name in servers}
    assert found["stock"]["TLS1_3"][0] == "OK"
    assert found["stock"]["heartbleed"][0] == "OK"
    assert len(found["stock"]) > 15
    assert found["direct"] == found["stock"]
    assert found["portable"] == found["stock"]
