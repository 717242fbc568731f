"""A network camera on loopback: MJPEG over HTTP, as IP cameras and `mjpg-streamer` send it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BOUNDARY = "frame"


@dataclass
class Behaviour:
    """What the camera does; tests change it while it runs."""

    picture: Callable[[int], bytes]
    period_s: float = 0.01
    frozen: threading.Event = field(default_factory=threading.Event)
    hang_up: threading.Event = field(default_factory=threading.Event)
    sent: int = 0


@contextmanager
def mjpeg_camera(behaviour: Behaviour) -> Iterator[tuple[str, ThreadingHTTPServer]]:
    """A camera that any number of clients may watch; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            kind = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
            self.send_header("Content-Type", kind)
            self.end_headers()
            try:
                for i in itertools.count():
                    if ending.wait(behaviour.period_s) or behaviour.hang_up.is_set():
                        return
                    while behaviour.frozen.is_set():
                        if ending.wait(0.02):
                            return
                    content = behaviour.picture(i)
                    head = (
                        f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\n"
                        f"Content-Length: {len(content)}\r\n\r\n"
                    )
                    self.wfile.write(head.encode() + content + b"\r\n")
                    behaviour.sent += 1
            except OSError:
                return  # the client left

        def log_message(self, format: str, *args: Any) -> None:
            """Silence."""

    ending = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/stream.mjpg", server
    finally:
        ending.set()
        server.shutdown()
        server.server_close()
        thread.join()
