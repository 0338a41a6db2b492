"""TLS 1.3 by create_server and start_server: echo, bulk, handshakes, memory, HTTPS."""

from __future__ import annotations

from benchmarks.net import net, size_label, size_text

_MIB = 1 << 20


def tls(name, title, kind, *, uvloop=1.0, **kwargs):
    """A scenario over TLS: nowhere below rsloop and aiofastnet either."""
    net(
        f"tls_{name}",
        "tls",
        f"TLS {title}",
        kind,
        transport="tls",
        uvloop=uvloop,
        rsloop=1.0,
        aiofastnet=1.0,
        **kwargs,
    )


for kind, word, wanted in (
    ("protocol", "Protocol", 1.3),
    ("streams_read", "streams", 1.4),
):
    for size in (64, 1024, 10 * 1024, 100 * 1024):
        usual = size == 1024
        limit = {"c": 0.85} if usual and kind == "protocol" else {}
        tls(
            f"{kind}_{size_label(size)}",
            f"echo by {word}, {size_text(size)}, 100 connections",
            kind,
            request=size,
            uvloop=wanted if usual else 1.0,
            **limit,
        )

tls(
    "protocol_1k_pipelined",
    "echo by Protocol, 1 KiB, 100 connections, 16 deep",
    "protocol",
    depth=16,
)
tls(
    "bulk_up",
    "bulk to the server, cost per MiB",
    "reply",
    request=_MIB,
    reply=1,
    connections=4,
    depth=4,
)
tls(
    "bulk_down",
    "bulk from the server, cost per MiB",
    "reply",
    request=1,
    reply=_MIB,
    connections=4,
    depth=4,
)
for resume, word in ((False, "full"), (True, "resumed")):
    tls(
        f"handshake_{word}",
        f"connect, {word} handshake, one echo, close",
        "protocol",
        mode="connect",
        request=64,
        connections=20,
        resume=resume,
    )
tls(
    "memory",
    "memory per idle connection, Protocol",
    "protocol",
    mode="hold",
    request=64,
    connections=1_000,
    uvloop=2.0,
)
for kind in ("uvicorn", "aiohttp"):
    tls(
        kind,
        f"HTTPS by {kind}, 50 connections",
        kind,
        mode="http",
        connections=50,
    )
