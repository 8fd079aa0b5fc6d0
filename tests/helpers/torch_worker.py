"""What test_torch_workers has several processes do: python torch_worker.py FOLDER MODE"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from helpers.tiny_engine import BATCH, MEAN, SIDE, STD, batches, first_parameters, network

from imagenet_trainer.engines import Devices, NonFiniteLossError, Optimizer, Training
from imagenet_trainer.engines.factory import join_workers, open_engine
from imagenet_trainer.engines.workers import share, together
from imagenet_trainer.errors import InputError, run_command

RATES = (0.02, 0.02, 0.02, 0.005, 0.005, 0.005)


def opened(batch_norm=False, **more):
    devices = Devices(engine="torch")
    how = Training(Optimizer("sgd", 0.9, 1e-3), average_decay=0.9, **more)
    symbol, workers = network(batch_norm), join_workers(devices)
    shape = (BATCH, SIDE, SIDE, 3)
    engine = open_engine(symbol, devices, shape, MEAN, STD, how, workers)
    engine.set_params(*first_parameters(symbol))
    return engine, workers


def train(engine, first, last):
    """Updates first..last-1 with this worker's part of each global batch."""
    for update in range(first, last):
        images, labels = batches()[update]
        part = share(BATCH, engine)
        here = slice(part.start, part.stop)
        engine.train_batch(images[here], labels[here], RATES[update])


def save(engine, path):
    arg, aux = engine.get_params()
    named = {"params:" + name: value for name, value in {**arg, **aux}.items()}
    if engine.rank == 0:
        fresh = path.with_suffix(".new.npz")
        np.savez(fresh, **named, **{"state:" + n: v for n, v in engine.get_state().items()})
        os.replace(fresh, path)


def load(engine, path):
    with np.load(path) as file:
        held = {name: file[name] for name in file.files}
    params = {n[7:]: v for n, v in held.items() if n.startswith("params:")}
    engine.set_params(params, params)
    engine.set_state({n[6:]: v for n, v in held.items() if n.startswith("state:")})


def all_in_one(folder):
    """Six updates; three that continue another's; a loss that is not finite in one worker."""
    engine, workers = opened()
    train(engine, 0, 3)
    save(engine, folder / "half-by-two.npz")
    train(engine, 3, 6)
    save(engine, folder / "two.npz")
    counts = engine.read_counts()
    load(engine, folder / "half-by-one.npz")
    train(engine, 3, 6)
    save(engine, folder / "one-then-two.npz")
    normed, _ = opened(batch_norm=True)
    train(normed, 0, 1)
    save(normed, folder / "normed.npz")
    for again in (False, True):
        synced, _ = opened(batch_norm=True, sync_batch_norm=True, checkpoint_activations=again)
        train(synced, 0, 6)
        save(synced, folder / f"synced-{again}.npz")
    watched, _ = opened(monitor=1)
    train(watched, 0, 2)
    results = {f"seen:{n}": v for n, v in watched.read_statistics()[1][1].items()}
    images, labels = batches()[0]
    labels = labels[: BATCH // 2].copy()
    arg, aux = engine.get_params()
    if engine.rank == 1:
        arg["fc_bias"][0] = np.nan
    engine.set_params(arg, aux)
    stopped = False
    try:
        engine.train_batch(images[: BATCH // 2], labels, 0.01)
    except NonFiniteLossError as error:
        stopped = error.update == 6
    mine = np.array([1.0, 5.0])
    results.update(mine=mine, sum=workers.sum(mine))
    np.savez(folder / f"results-{engine.rank}.npz", counts=counts, stopped=stopped, **results)
    workers.part()


def killed_once(folder):
    """The second worker is killed in the first attempt; the next one continues."""
    engine, workers = opened()
    first = 0
    if (folder / "kept.npz").exists():
        load(engine, folder / "kept.npz")
        first = int(engine.get_state()["updates"])
    for update in range(first, 6):
        train(engine, update, update + 1)
        save(engine, folder / "kept.npz")
        if engine.rank == 1 and update == 2 and first == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    workers.part()


def stopped(folder):
    """The second worker hangs after two updates without ending."""
    engine, _ = opened()
    train(engine, 0, 2)
    if engine.rank == 1:
        (folder / "stopped.txt").write_text(str(time.time()))
        os.kill(os.getpid(), signal.SIGSTOP)
    train(engine, 2, 6)


def refused(folder):
    """The second worker raises its error while the first one has none.

    It is printed as the commands print it; the file counts the attempts.
    """

    def body():
        workers = join_workers(Devices(engine="torch"))
        if workers.rank == 0:
            with open(folder / "attempts.txt", "a") as file:
                file.write("x")
        with together(workers):
            if workers.rank == 1:
                raise InputError("--data-train x.rec: is not there")

    sys.exit(run_command("fit", body))


def orphaned(folder):
    """Prints a line for the test and waits for a signal."""
    join_workers(Devices(engine="torch"))

    def end(number, frame):
        (folder / "ended.txt").write_text(signal.Signals(number).name)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    print("ready", flush=True)
    while True:
        time.sleep(0.01)  # signal.pause() would miss a signal that comes just before it


if __name__ == "__main__":
    modes = {
        "all": all_in_one, "killed": killed_once, "stopped": stopped, "refused": refused,
        "orphaned": orphaned,
    }  # fmt: skip
    modes[sys.argv[2]](Path(sys.argv[1]))
