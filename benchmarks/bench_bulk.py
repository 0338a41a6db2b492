"""Much data one way, and many small writes in one turn."""

from __future__ import annotations

from benchmarks.net import net

_MIB = 1 << 20

net(
    "bulk_up",
    "bulk",
    "bulk to the server, cost per MiB",
    "reply",
    request=_MIB,
    reply=1,
    connections=4,
    depth=4,
    uvloop=1.0,
    c=0.75,
)
net(
    "bulk_down",
    "bulk",
    "bulk from the server, cost per MiB",
    "reply",
    request=1,
    reply=_MIB,
    connections=4,
    depth=4,
    uvloop=1.0,
    c=0.75,
)
net(
    "small_writes",
    "bulk",
    "100 writes of 64 B in one turn",
    "writes",
    request=64,
    reply=6400,
    connections=10,
    uvloop=5.0,
)
