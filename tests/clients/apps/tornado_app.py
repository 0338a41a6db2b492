"""A tornado server in a process of its own: tornado_app.py PORT."""

import signal
import sys

from real import loop_name
from tornado.ioloop import IOLoop
from tornado.web import Application, RequestHandler


class Plain(RequestHandler):
    async def get(self):
        self.write("Hello, world!")


class WhichLoop(RequestHandler):
    async def get(self):
        self.write({"loop": loop_name()})


def main():
    app = Application([("/", Plain), ("/loop", WhichLoop)])
    app.listen(int(sys.argv[1]), "127.0.0.1")
    loop = IOLoop.current()
    loop.asyncio_loop.add_signal_handler(signal.SIGTERM, loop.stop)
    loop.start()
    loop.close(all_fds=True)
    print("ended", flush=True)


if __name__ == "__main__":
    main()
