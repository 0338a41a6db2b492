"""HTTP plain text: by a Protocol, and through uvicorn and aiohttp."""

from __future__ import annotations

from benchmarks.net import net

for kind, word in (
    ("http_protocol", "a Protocol"),
    ("uvicorn", "uvicorn"),
    ("aiohttp", "aiohttp"),
):
    net(
        kind if kind.startswith("http") else f"http_{kind}",
        "http",
        f"HTTP by {word}, 50 connections",
        kind,
        mode="http",
        connections=50,
        uvloop=1.05,
    )
