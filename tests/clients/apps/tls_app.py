"""A small HTTPS server on asyncio's streams, in a process of its own, which prints its
port: tls_app.py CHAIN KEY [WAY]. WAY is cloop's way to OpenSSL.
"""

import asyncio
import ssl
import sys

chain, key, *way = sys.argv[1:]


async def serve(reader, writer):
    try:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n")
        writer.write(b"Connection: close\r\n\r\nok")
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass
    finally:
        writer.close()


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if way:
    from cloop import _cloop

    assert _cloop._tls_backend(way[0])[0] == way[0]
asyncio.run(main())
