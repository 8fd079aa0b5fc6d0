"""A small run, and what evaluate left in its folder."""

import json

import cv2
import numpy as np

from imagenet_trainer import evaluate
from imagenet_trainer.config import EvaluateSettings
from imagenet_trainer.eval.evaluator import Evaluator
from imagenet_trainer.runs.checkpoint import read_arrays
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.mxnet_import import mx

SIDE = 16
MEAN, STD = (120.0, 110.0, 100.0), (50.0, 60.0, 70.0)


def metrics_of(prefix):
    return json.loads(Run(prefix).evaluation_path.read_text())["epochs"]


def evaluator_of(prefix, *epochs, log=print, **settings):
    """An evaluator, for what needs no output files."""
    chosen = EvaluateSettings(model_prefix=prefix, **settings)
    return Evaluator(chosen, Run(prefix), epochs, log)


def matrix_of(prefix, epoch):
    return read_arrays(Run(prefix).confusion_path(epoch, ".npz"))["matrix"]


def refusal(capsys, *words):
    assert evaluate.main([str(word) for word in words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("evaluate: error: ")
    return lines[0]


def probabilities_by_mxnet_alone(prefix, epoch, rec, top=2, left=2, turn=1):
    """Float32 (n, classes) and labels (n,), without this package."""
    reader = mx.recordio.MXIndexedRecordIO(rec[:-3] + "idx", rec, "r")
    planes, labels = [], []
    for key in reader.keys:
        header, image = mx.recordio.unpack_img(reader.read_idx(key), cv2.IMREAD_COLOR)
        crop = image[top : top + SIDE, left : left + SIDE, ::-1].astype(np.float64)  # RGB
        crop = crop[:, ::turn]  # mirrored for -1
        planes.append(((crop - MEAN) / STD).transpose(2, 0, 1))
        labels.append(int(header.label))
    symbol, arg, aux = mx.model.load_checkpoint(prefix, epoch)
    module = mx.mod.Module(symbol)
    shapes = [("data", (len(planes), 3, SIDE, SIDE))], [("softmax_label", (len(planes),))]
    module.bind(*shapes, for_training=False)
    module.set_params(arg, aux)
    batch = mx.io.DataBatch([mx.nd.array(np.array(planes))], [mx.nd.array(labels)])
    module.forward(batch, is_train=False)
    return module.get_outputs()[0].asnumpy(), np.array(labels)
