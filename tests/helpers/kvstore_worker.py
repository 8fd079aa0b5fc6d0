"""A worker that trains nothing: python kvstore_worker.py FILE

It connects to the scheduler, the servers and the other workers, prints a line once all have, and
waits until FILE exists (exit code 0) or until SIGTERM or SIGINT arrives (exit code 128 + its
number). A second signal kills it, as it does a training. It loads MXNet's library without its
Python package, which would take seconds.
"""

import ctypes
import signal
import sys
import time
from pathlib import Path

from imagenet_trainer.engines.mxnet import watch
from imagenet_trainer.engines.mxnet.serving import library

signals = []


def note(number, frame):
    signals.append(number)
    signal.signal(number, signal.SIG_DFL)


for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, note)
watch.prepare_environment()
mxnet, store, rank, size = library(), ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int()
assert mxnet.MXKVStoreCreate(b"dist_sync", ctypes.byref(store)) == 0
assert mxnet.MXKVStoreGetRank(store, ctypes.byref(rank)) == 0
assert mxnet.MXKVStoreGetGroupSize(store, ctypes.byref(size)) == 0
assert mxnet.MXKVStoreBarrier(store) == 0
print(f"connected to {size.value} workers", flush=True)
while not signals and not Path(sys.argv[1]).exists():
    time.sleep(0.02)
if signals:
    time.sleep(0.2 * rank.value)  # workers of a training do not save equally fast either
    print("saved", flush=True)
assert mxnet.MXKVStoreFree(store) == 0  # waits for the other workers
sys.exit(128 + signals[0] if signals else 0)
