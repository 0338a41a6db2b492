"""The system-call fault table's Python face, in debug builds (CLOOP_DEBUG)."""

import errno

import pytest

_cloop = pytest.importorskip("cloop._cloop")

pytestmark = pytest.mark.skipif(
    not hasattr(_cloop, "_fault_set"), reason="needs a build with CLOOP_DEBUG=1"
)


@pytest.fixture(autouse=True)
def no_faults():
    _cloop._fault_clear()
    yield
    _cloop._fault_clear()


def test_counts_start_at_zero():
    counts = _cloop._fault_counts()
    assert {"read", "epoll_ctl", "accept4", "sendmsg"} <= set(counts)
    assert set(counts.values()) == {(0, 0)}


def test_nth_use_fails():
    import cloop

    loop = cloop.new_event_loop()
    try:
        _cloop._fault_set("epoll_create1", 1, errno.EMFILE)
        with pytest.raises(OSError) as caught:
            loop.add_reader(0, print)
        assert caught.value.errno == errno.EMFILE
        assert _cloop._fault_counts()["epoll_create1"] == (1, 1)
    finally:
        _cloop._fault_clear()
        loop.close()


@pytest.mark.parametrize(
    "args",
    [
        ("reboot", 1, 1),
        ("read", 0, 1),
        ("read", 1, 0),
        ("read", -1, 1),
        ("read", 1, 1, 0),
    ],
)
def test_wrong_orders(args):
    with pytest.raises(ValueError):
        _cloop._fault_set(*args)


@pytest.mark.parametrize("args", [(), ("read",), (1, 1, 1), ("read", "x", 1)])
def test_wrong_types(args):
    with pytest.raises(TypeError):
        _cloop._fault_set(*args)
    with pytest.raises(TypeError):
        _cloop._fault_one_byte()
