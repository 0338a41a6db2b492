"""asyncio's streams: echo by read, readline and readexactly, and small pieces."""

from __future__ import annotations

from benchmarks.net import net, size_label, size_text

for method in ("read", "readline", "readexactly"):
    for size in (1024, 10 * 1024):
        net(
            f"streams_{method}_{size_label(size)}",
            "streams",
            f"streams {method} echo, {size_text(size)}, 100 connections",
            f"streams_{method}",
            request=size,
            uvloop=1.6,
        )

net(
    "streams_readline_unix_1k",
    "streams",
    "streams readline echo, 1 KiB, Unix, 100 connections",
    "streams_readline",
    transport="unix",
    uvloop=1.6,
)

for kind, word in (("lines", "lines"), ("frames", "frames")):
    net(
        f"streams_{kind}_64",
        "streams",
        f"streams: 64-byte {word} out of 64 KiB blocks (cost per block)",
        f"streams_{kind}",
        request=64 * 1024,
        reply=64,
        line=64,
        connections=10,
        uvloop=3.0,
    )
