"""A parameter server or the scheduler: python -m imagenet_trainer.engines.mxnet.serving

MXNet starts these roles by `import mxnet` with DMLC_ROLE set, which takes two seconds of processor
time and lets servers unpickle data from the network. This module loads only the library; the
commands that its servers accept are JSON.
"""

import imagenet_trainer.system.interruptible  # noqa: F401

# isort: split
import ctypes
import importlib.util
import os
import sys
from typing import Any, Optional, Sequence

from imagenet_trainer.engines.joining import end_at_signals
from imagenet_trainer.engines.mxnet import watch
from imagenet_trainer.errors import InputError, run_command
from imagenet_trainer.system.cuda_wheels import load_cuda_wheels
from imagenet_trainer.system.wheels import how_to_install_mxnet

_CONTROLLER = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


def library() -> ctypes.CDLL:
    """Load libmxnet.so without MXNet's Python package; InputError if it is not installed."""
    spec = importlib.util.find_spec("mxnet")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"MXNet is not installed; {how_to_install_mxnet()}")
    load_cuda_wheels()
    path = os.path.join(next(iter(spec.submodule_search_locations)), "libmxnet.so")
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        raise InputError(f"{error}; run `python -m imagenet_trainer.doctor`") from error


class Server:
    """Sum gradients until the last worker has disconnected."""

    def __init__(self) -> None:
        watch.prepare_environment()
        self._library = library()
        self._handle = ctypes.c_void_p()
        self._check(self._library.MXKVStoreCreate(b"dist", ctypes.byref(self._handle)))
        self._updates: Any = None
        self._kvstore: Any = None  # frees the handle, if it exists
        # A reference, since the library calls it.
        self._controller = _CONTROLLER(self._command)

    def run(self) -> None:
        """Serve until all workers have disconnected; a lost process ends this one."""
        end_at_signals()
        is_scheduler = os.environ.get("DMLC_ROLE") == "scheduler"
        groups = watch.SERVERS_AND_WORKERS if is_scheduler else watch.SCHEDULER
        watching = watch.Watch(watch.counter(self._library, self._handle), groups, watch.end_lost)
        self._check(self._library.MXKVStoreRunServer(self._handle, self._controller, None))
        watching.leave()
        if self._updates is None:
            self._check(self._library.MXKVStoreFree(self._handle))

    def _command(self, number: int, body: Optional[bytes], _: Any) -> None:
        try:
            if self._updates is None:
                self._updates = self._with_python()
            self._updates.command((body or b"").decode())
        except BaseException as error:  # none may propagate into C
            print(f"serving: error: a worker's command: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)

    def _with_python(self) -> Any:
        """Import MXNet's Python package, for updates made by servers: dist_async."""
        role, os.environ["DMLC_ROLE"] = (
            os.environ["DMLC_ROLE"],
            "worker",
        )  # else the import would serve
        # Imported here: other servers do without, and the import reads DMLC_ROLE. `optimizers`
        # registers the corrected rules, which AsyncUpdates creates by name.
        from imagenet_trainer.engines.mxnet import optimizers  # noqa: F401
        from imagenet_trainer.engines.mxnet.async_updates import AsyncUpdates
        from imagenet_trainer.system.mxnet_import import mx

        os.environ["DMLC_ROLE"] = role
        updates = AsyncUpdates()
        self._kvstore = mx.kvstore.KVStore(self._handle)
        self._kvstore._set_updater(updates.update)
        return updates

    def _check(self, failed: int) -> None:
        if failed:
            self._library.MXGetLastError.restype = ctypes.c_char_p
            raise InputError(self._library.MXGetLastError().decode("utf-8", "replace"))


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line. It has no flags: ps-lite reads the environment."""
    return run_command("serving", lambda: Server().run())


if __name__ == "__main__":
    sys.exit(main())
