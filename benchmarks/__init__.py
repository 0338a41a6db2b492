"""Benchmarks of cloop beside other asyncio event loops: ``python -m benchmarks``."""
