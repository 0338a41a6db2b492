"""UDP echo."""

from __future__ import annotations

from benchmarks.net import net

net(
    "udp_echo",
    "datagrams",
    "UDP echo, 1 KiB, 10 sockets",
    "datagram",
    transport="udp",
    connections=10,
    uvloop=1.15,
)
net(
    "udp_pipelined",
    "datagrams",
    "UDP echo, 1 KiB, 10 sockets, 16 deep",
    "datagram",
    transport="udp",
    connections=10,
    depth=16,
    uvloop=1.3,
)
