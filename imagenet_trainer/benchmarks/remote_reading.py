"""Measure reading from an object storage: a server on this machine that answers after a latency.

Records of the size of ImageNet's original images are read in the orders of a training, through
caches of several sizes. Nothing is decoded. The server has a process of its own.
"""

import asyncio
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from typing import Any, Dict, Iterator, Tuple

from imagenet_trainer.benchmarks.figures import Figures, named
from imagenet_trainer.benchmarks.reading import (
    IMAGE,
    WINDOW,
    check_images,
    read_epoch,
    write_large,
)
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.block_cache import use_cache
from imagenet_trainer.system.wheels import pip_install

_EPOCHS = (", first epoch", ", later epochs")  # without a cache there is no difference
# Of each case: the part of the set that the cache holds, and the window.
_CASES = {
    "cache larger than the set": (1.1, 0),
    "cache of half the set": (0.5, 0),
    f"half, --shuffle-window {WINDOW}": (0.5, WINDOW),
    "--cache-size 0": (0.0, 0),
    f"0, --shuffle-window {WINDOW}": (0.0, WINDOW),
}


def run(latency: float, images: int, threads: int) -> Figures:
    """Print images per second, and bytes and requests per image, of each case; return them."""
    check_images(images)
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
    if importlib.util.find_spec("aiohttp") is None:
        raise InputError(f"--latency {latency:g}: needs aiohttp; {pip_install('storage')}")
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
    asyncio.run(_serve(folder, float(latency) / 1e3))


async def _serve(folder: str, pause: float) -> None:
    from aiohttp import web

    sent = {"bytes": 0, "requests": 0}

    @web.middleware
    async def answer(request: Any, handler: Any) -> Any:
        if request.path == "/sent":
            return web.json_response(sent)
        await asyncio.sleep(pause)
        found = await handler(request)
        sent["bytes"] += request.http_range.stop - request.http_range.start
        sent["requests"] += 1
        return found

    app = web.Application(middlewares=[answer])
    app.router.add_static("/", folder)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
