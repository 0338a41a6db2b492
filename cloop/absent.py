"""What an asyncio loop has and cloop has not yet: each of these methods raises
NotImplementedError with a sentence that says so. A method leaves the list when a
mixin or the C loop brings it; an empty list removes this file.
"""

_NAMES = (
    "sendfile",
)


def _absent(name):
    async def method(self, *args, **kwargs):
        raise NotImplementedError(f"cloop has no {name} yet")

    method.__name__ = name
    method.__qualname__ = f"Loop.{name}"
    return method


class AbsentMixin:
    """Stands behind every other base of the Loop but the abstract one."""

    __slots__ = ()


for _name in _NAMES:
    setattr(AbsentMixin, _name, _absent(_name))
