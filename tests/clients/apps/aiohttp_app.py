"""An aiohttp server in a process of its own: aiohttp_app.py PORT [FACTORY]. The factory
("module:name") makes its loop, if there is one.
"""

import importlib
import sys

from aiohttp import web
from real import loop_name


async def plain(request):
    return web.Response(text="Hello, world!")


async def which_loop(request):
    return web.json_response({"loop": loop_name()})


async def on_cleanup(app):
    print("cleanup on", loop_name(), flush=True)


app = web.Application()
app.router.add_get("/", plain)
app.router.add_get("/loop", which_loop)
app.on_cleanup.append(on_cleanup)

if __name__ == "__main__":
    options = {"host": "127.0.0.1", "port": int(sys.argv[1]), "access_log": None}
    if len(sys.argv) > 2:
        module, _, name = sys.argv[2].partition(":")
        options["loop"] = getattr(importlib.import_module(module), name)()
    web.run_app(app, **options)
