"""An aiohttp server in a process of its own: aiohttp_app.py PORT [FACTORY]. The factory
("module:name") makes its loop, if there is one. TLS_CHAIN and TLS_KEY in the
environment make it an HTTPS server.
"""

import importlib
import os
import ssl
import sys

from aiohttp import web
from real import loop_name, tls_transports


async def plain(request):
    return web.Response(text="Hello, world!")


async def which_loop(request):
    return web.json_response({"loop": loop_name()})


async def which_tls(request):
    return web.json_response(tls_transports())


async def on_cleanup(app):
    print("cleanup on", loop_name(), flush=True)


app = web.Application()
app.router.add_get("/", plain)
app.router.add_get("/loop", which_loop)
app.router.add_get("/tls", which_tls)
app.on_cleanup.append(on_cleanup)

if __name__ == "__main__":
    options = {"host": "127.0.0.1", "port": int(sys.argv[1]), "access_log": None}
    if "TLS_CHAIN" in os.environ:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(os.environ["TLS_CHAIN"], os.environ["TLS_KEY"])
        options["ssl_context"] = context
    if len(sys.argv) > 2:
        module, _, name = sys.argv[2].partition(":")
        options["loop"] = getattr(importlib.import_module(module), name)()
    web.run_app(app, **options)
