"""Echo by Protocol, BufferedProtocol and sock_*: sizes, connections, TCP and Unix."""

from __future__ import annotations

from benchmarks.net import net, size_label, size_text

_SIZES = (64, 1024, 10 * 1024, 100 * 1024)
_CONNECTIONS = (1, 10, 100, 1000, 10_000)


def targets(size, connections):
    """Against uvloop and C; one connection in lock-step has no target: the wake-up of
    the scheduler is what it measures."""
    if connections == 1:
        return {}
    if size > 10 * 1024:
        return {"uvloop": 1.0, "c": 0.75}
    found = {"uvloop": 1.08 if connections == 100 else 1.0}
    if size == 1024:
        found["c"] = 0.87
    return found


# The usual run has a cross through the matrix: all sizes with 100 connections, all
# numbers of connections with 1 KiB. The rest runs with --all.
for kind, word in (("protocol", "Protocol"), ("buffered", "BufferedProtocol")):
    for size in _SIZES:
        for connections in _CONNECTIONS:
            net(
                f"echo_{kind}_{size_label(size)}_c{connections}",
                "echo",
                f"{word} echo, {size_text(size)}, {connections} connections",
                kind,
                request=size,
                connections=connections,
                extra=not (connections == 100 or (size == 1024 and kind == "protocol")),
                heavy=connections > 1000,
                **targets(size, connections),
            )
    net(
        f"echo_{kind}_1k_pipelined",
        "echo",
        f"{word} echo, 1 KiB, 100 connections, 16 deep",
        kind,
        depth=16,
        uvloop=1.15,
        c=0.85,
    )
    net(
        f"echo_{kind}_unix_1k",
        "echo",
        f"{word} echo, 1 KiB, Unix, 100 connections",
        kind,
        transport="unix",
        uvloop=1.25,
    )

for kind in ("sock", "sock_into"):
    word = "sock_recv" + kind[4:]
    for size in _SIZES[:3]:
        net(
            f"echo_{kind}_{size_label(size)}",
            "echo",
            f"{word} + sock_sendall echo, {size_text(size)}, 100 connections",
            kind,
            request=size,
            extra=kind == "sock_into" and size != 1024,
            uvloop=2.5,
        )
