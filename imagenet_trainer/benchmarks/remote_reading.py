"""Measure reading from an object storage: a server on this machine that answers after a latency.

Records of the size of ImageNet's original images are read in the orders of a training, through
caches of several sizes. Nothing is decoded. The server has a process of its own.
"""

import contextlib
import http.server
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from typing import Dict, Iterator, Tuple

from imagenet_trainer.benchmarks.figures import Figures, named
from imagenet_trainer.benchmarks.reading import IMAGE, WINDOW, read_epoch, write_large
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.system.block_cache import use_cache

_EPOCHS = (", first epoch", ", later epochs")  # without a cache there is no difference
# Of each case: the part of the set that the cache holds, and the window.
_CASES = {
    "cache larger than the set": (1.1, 0),
    "cache of half the set": (0.5, 0),
    f"half, --shuffle-window {WINDOW}": (0.5, WINDOW),
    "--cache-size 0": (0.0, 0),
    f"0, --shuffle-window {WINDOW}": (0.0, WINDOW),
}


def run(latency: float, images: int = 8192, threads: int = 2) -> Figures:
    """Print images per second, and bytes and requests per image, of each case; return them."""
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        rec = write_large(folder, images)
        print(f"{images:,} records of {IMAGE / 1e3:.0f} kB by HTTP, latency {latency:g} ms")
        print(f"{f'{threads} threads':<42}{'images/s':>9}{'kB/image':>10}{'requests/image':>16}")
        with _server(folder, latency) as address, contextlib.ExitStack() as stack:
            stack.callback(use_cache)
            for name, (share, window) in _CASES.items():
                cache = stack.enter_context(tempfile.TemporaryDirectory())
                use_cache(cache, str(int(share * os.path.getsize(rec))))
                for epoch, title in enumerate(_EPOCHS if share else _EPOCHS[1:]):
                    found = _measure(f"{address}/train.rec", window, epoch, threads, images)
                    print(f"{name + title:<42}{found[0]:>9,.0f}{found[1]:>10,.1f}{found[2]:>16.3f}")
                    for key, value in zip(("rate", "kilobytes", "requests"), found):
                        figures[f"{named(name + title)}_{key}"] = value
    return figures


def _measure(
    url: str, window: int, epoch: int, threads: int, images: int
) -> Tuple[float, float, float]:
    """Images per second, and kB and requests per image."""
    before = _sent(url)
    with Shards([url]) as shards:
        rate = read_epoch(shards, window, True, epoch, threads)
    after = _sent(url)
    size, requests = ((after[name] - before[name]) / images for name in ("bytes", "requests"))
    return rate, size / 1e3, requests


# --- the server ----------------------------------------------------------------------------------


def _sent(url: str) -> Dict[str, int]:
    with urllib.request.urlopen(f"{url.rpartition('/')[0]}/sent") as answer:
        return json.load(answer)


@contextlib.contextmanager
def _server(folder: str, latency: float) -> Iterator[str]:
    """The address of a server of the files of a folder, in a process of its own."""
    code = f"import sys; from {__name__} import serve; serve(*sys.argv[1:])"
    words, pipe = [sys.executable, "-c", code, folder, str(latency)], subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin and process.stdout
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.stdin.close()


def serve(folder: str, latency: str) -> None:
    """Serve a folder until the standard input ends; print the port."""
    sent = {"bytes": 0, "requests": 0}
    lock = threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            if self.path == "/sent":
                return self._answer(200, json.dumps(sent).encode(), {})
            time.sleep(float(latency) / 1e3)
            path = os.path.join(folder, os.path.basename(self.path))
            match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if not match or not os.path.isfile(path):
                return self._answer(404, b"", {})
            begin, size = int(match[1]), os.path.getsize(path)
            with open(path, "rb") as file:
                data = os.pread(file.fileno(), int(match[2]) + 1 - begin, begin)
            with lock:
                sent["bytes"] += len(data)
                sent["requests"] += 1
            part = f"bytes {begin}-{begin + len(data) - 1}/{size}"
            return self._answer(206, data, {"Content-Range": part, "ETag": '"1"'})

        def _answer(self, status: int, body: bytes, headers: Dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()
