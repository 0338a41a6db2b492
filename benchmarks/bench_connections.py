"""Connections themselves: made and dropped, and held."""

from __future__ import annotations

from benchmarks.net import net

net(
    "accept",
    "connections",
    "connect, one echo, close",
    "protocol",
    mode="connect",
    request=64,
    connections=50,
    uvloop=1.05,
)
net(
    "accept_streams",
    "connections",
    "connect, one echo, close; streams",
    "streams_read",
    mode="connect",
    request=64,
    connections=50,
)
for kind, word, target in (
    ("protocol", "Protocol", 2.0),
    ("streams_read", "streams", 1 / 0.7),
):
    net(
        f"memory_{kind}",
        "connections",
        f"memory per idle connection, {word}",
        kind,
        mode="hold",
        request=64,
        connections=10_000,  # many: Python's allocator asks for 1 MiB at a time
        uvloop=round(target, 2),
    )
