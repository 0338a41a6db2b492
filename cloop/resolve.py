"""getaddrinfo and getnameinfo.

A query that cannot block is answered at once, by the same call of the socket module
with the same arguments, so that its results and errors are the same; a query that may
ask a name server goes to a thread of the default executor. Whether a host is an
address literal is asked of the C library too (inet_aton, inet_pton), because its
notion of one ("127.1", "0x7f000001", "fe80::1%lo") is the one that counts.

The socket module's functions are looked up at each call: programs replace them.
"""

import re
import socket
from asyncio.log import logger

# inet_aton alone would accept trailing text; a name may not begin with a digit of
# these only unless inet_aton accepts it as well.
_IPV4 = re.compile("[0-9][0-9a-fA-FxX.]*")
_NUMERIC_NAMES = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


def _is_literal(host):
    """True when getaddrinfo(host) never leaves this machine."""
    if host is None:
        return True
    try:
        if isinstance(host, bytes):
            host = host.decode("ascii")
        elif not isinstance(host, str):
            return False
        if ":" in host:
            socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
            return True
        if _IPV4.fullmatch(host) is None:
            return False
        socket.inet_aton(host)
        return True
    except (OSError, ValueError):  # ValueError: not ASCII, a NUL inside
        return False


class ResolveMixin:
    __slots__ = ()

    def _getaddrinfo_debug(self, host, port, family, type, proto, flags):
        query = [f"{host}:{port!r}"]
        for name, value in (
            ("family", family),
            ("type", type),
            ("proto", proto),
            ("flags", flags),
        ):
            if value:
                query.append(f"{name}={value!r}")
        query = ", ".join(query)
        logger.debug("Get address info %s", query)
        began = self.time()
        answer = socket.getaddrinfo(host, port, family, type, proto, flags)
        took = self.time() - began
        report = f"Getting address info {query} took {took * 1e3:.3f}ms: {answer!r}"
        if took >= self.slow_callback_duration:
            logger.info(report)
        else:
            logger.debug(report)
        return answer

    async def getaddrinfo(self, host, port, *, family=0, type=0, proto=0, flags=0):
        """socket.getaddrinfo without blocking the loop. See the asyncio documentation,
        section "DNS".
        """
        query = self._getaddrinfo_debug if self.get_debug() else socket.getaddrinfo
        if _is_literal(host):
            self._check_closed()
            return query(host, port, family, type, proto, flags)
        return await self.run_in_executor(
            None, query, host, port, family, type, proto, flags
        )

    async def getnameinfo(self, sockaddr, flags=0):
        """socket.getnameinfo without blocking the loop. See the asyncio documentation,
        section "DNS".
        """
        if isinstance(flags, int) and flags & _NUMERIC_NAMES == _NUMERIC_NAMES:
            self._check_closed()
            return socket.getnameinfo(sockaddr, flags)
        return await self.run_in_executor(None, socket.getnameinfo, sockaddr, flags)
