import subprocess
import sys

import numpy as np
from conftest import ROOT

from imagenet_trainer.system.arrays import packed, write_arrays

PROGRAM = """
import resource, sys
import numpy as np
from imagenet_trainer.errors import run_command
from imagenet_trainer.runs.run import Run
from imagenet_trainer.train.confusion_gif import ConfusionGif
from imagenet_trainer.benchmarks.synthetic_predictions import many_predictions
from imagenet_trainer.metrics.predictions import ProbabilitiesFile
from imagenet_trainer.system.arrays import write_arrays

folder = sys.argv[1]
random = np.random.default_rng(0).random((64, 500)).astype(np.float32)

def write(what):
    if what == "arrays":
        write_arrays(folder + "/a.npz", {"a": random})
    if what == "predictions":
        many_predictions(20_000, 100).save(folder + "/a.npz")
    if what == "gif":
        gif = ConfusionGif(Run(folder + "/a"), 500)
        gif.counts[:] = np.random.default_rng(0).integers(0, 10**9, (500, 500))
        gif.draw(1, 0.5)
    if what == "probabilities":
        with ProbabilitiesFile(folder + "/a.npz", 64, 500) as file:
            file.add(np.arange(64), random, None)

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for what in sys.argv[2:]:
    assert run_command(what, lambda: write(what)) == 2
"""


def test_a_full_disk_is_one_line(tmp_path):
    what = ("arrays", "predictions", "gif", "probabilities")
    words = [sys.executable, "-c", PROGRAM, str(tmp_path), *what]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    for name, line in zip(what, done.stderr.splitlines()):
        assert line.startswith(f"{name}: error: {tmp_path}/") and "File too large" in line
    assert done.stderr.count("\n") == len(what)
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_can_be_read(tmp_path):
    arrays = {"a": np.arange(3), "b": np.eye(2)}
    write_arrays(tmp_path / "a.npz", arrays)
    for file in (tmp_path / "a.npz", packed(arrays, compressed=False)):
        with np.load(file, allow_pickle=False) as found:
            assert {name: found[name].tolist() for name in found.files} == {
                "a": [0, 1, 2], "b": [[1, 0], [0, 1]],
            }  # fmt: skip
