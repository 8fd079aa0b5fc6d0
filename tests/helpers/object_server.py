"""An HTTP server on this machine that sends parts of objects, and fails when a test asks for it."""

import contextlib
import hashlib
import http.server
import json
import re
import socket
import struct
import threading
import time
from typing import Callable, Dict, Iterator, List, Tuple


class ObjectServer:
    """Serves `objects` with parts and ETags, and lists them at its address; also as gs://b.

    `requests` has (path, begin, end) of each answered request, end after the last byte. `fault` is
    asked before each answer, with the request's number from 1 on and its path, for one of
    `FAULTS`, or "".
    """

    def __init__(self) -> None:
        self.objects: Dict[str, bytes] = {}
        self.requests: List[Tuple[str, int, int]] = []
        self.fault: Callable[[int, str], str] = lambda number, path: ""
        self.has_ranges = self.has_list = True
        self.asked = 0
        self.lock = threading.Lock()

    def fails(self, *faults: str) -> None:
        """The next answers have these faults, those after them none."""
        left = list(faults)
        self.fault = lambda number, path: left.pop(0) if left else ""


FAULTS = ("500", "503", "429", "403", "reset", "truncated", "slow", "silent")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        state: ObjectServer = self.server.state
        path, _, query = self.path.lstrip("/").partition("?")
        name = path.rpartition("/o/")[2]
        with state.lock:
            state.asked += 1
            fault = state.fault(state.asked, name)
        if fault.isdecimal():
            return self._answer(int(fault), b"")
        if fault == "reset":
            option = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
            self.close_connection = True
            self.connection.close()
            return None
        if fault == "silent":
            time.sleep(1.5)  # longer than the client waits
            self.close_connection = True
            return None
        if name == "" and state.has_list:
            links = "".join(f'<a href="{one}">{one}</a>' for one in state.objects)
            return self._answer(200, links.encode())
        if name not in state.objects:
            return self._answer(404, b"")
        if name != path and "alt=media" not in query:  # Google's JSON
            about = {"name": name, "bucket": "b", "size": str(len(state.objects[name]))}
            return self._answer(200, json.dumps({**about, "etag": "1"}).encode())
        return self._object(state, name, fault)

    def _object(self, state: ObjectServer, name: str, fault: str) -> None:
        data = state.objects[name]
        tag = {"ETag": f'"{hashlib.md5(data).hexdigest()}"'}
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not match or not state.has_ranges:
            return self._answer(200, data, tag)
        begin, end = int(match[1]), min(int(match[2]) + 1, len(data))
        if begin >= len(data):
            return self._answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        with state.lock:
            state.requests.append((name, begin, end))
        part = {"Content-Range": f"bytes {begin}-{end - 1}/{len(data)}", **tag}
        if fault == "slow":
            time.sleep(0.05)
        self._answer(206, data[begin:end], part, cut=fault == "truncated")
        return None

    def _answer(self, status: int, body: bytes, headers=None, cut: bool = False) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True

    def log_message(self, *words: object) -> None:
        pass


@contextlib.contextmanager
def http_server() -> Iterator[Tuple[str, ObjectServer]]:
    """The address of a server, and its state."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.state = ObjectServer()
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", server.state
    finally:
        server.shutdown()
        server.server_close()
