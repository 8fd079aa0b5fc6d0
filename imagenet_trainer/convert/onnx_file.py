"""ONNX files: preprocessing, metadata, and predictions of onnxruntime."""

import json
from typing import Any, Dict, List, Sequence

import numpy as np

from imagenet_trainer.convert.onnx_graph import PLANES, PROBABILITIES
from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.system.files import AnyPath, write_file
from imagenet_trainer.system.wheels import pip_install

IMAGES = "pictures"
_ERRORS_ONLY = 3  # onnxruntime's log level


def check_libraries() -> None:
    """Raise ArgumentError unless onnx and onnxruntime are installed."""
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise ArgumentError("to", "onnx", f"needs {error.name}; {pip_install('export')}") from error
    del onnx, onnxruntime


def with_preprocessing(
    model: Any,
    image_shape: Sequence[int],
    mean: Sequence[float],
    std: Sequence[float],
    bgr: bool = False,
) -> Any:
    """The model with the input `pictures`, uint8 (batch, h, w, 3) RGB, instead of `data`.

    With `bgr` the network gets blue first.
    """
    from onnx import TensorProto, helper, numpy_helper

    _, height, width = image_shape
    graph = model.graph
    columns = {"rgb_mean": mean, "rgb_std": std}
    for name, values in columns.items():
        array = np.array(values, np.float32).reshape(1, 3, 1, 1)
        graph.initializer.append(numpy_helper.from_array(array, name))
    head = [
        helper.make_node("Cast", [IMAGES], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["as_float"], ["planes"], perm=(0, 3, 1, 2)),
        helper.make_node("Sub", ["planes", "rgb_mean"], ["centred"]),
        helper.make_node("Div", ["centred", "rgb_std"], ["scaled" if bgr else PLANES]),
    ]
    if bgr:
        graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), "blue_first"))
        head.append(helper.make_node("Gather", ["scaled", "blue_first"], [PLANES], axis=1))
    body = list(graph.node)
    del graph.node[:]
    graph.node.extend([*head, *body])
    shape: List[Any] = ["batch", height, width, 3]
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, shape))
    return model


def write(model: Any, path: AnyPath, about: Dict[str, Any]) -> None:
    """Check a model, add metadata, and write it atomically."""
    import onnx

    for key, value in about.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    onnx.checker.check_model(model)
    write_file(path, model.SerializeToString())


def predict(model: Any, batches: Sequence[np.ndarray]) -> List[np.ndarray]:
    """Predictions of onnxruntime on the CPU: probabilities float32 (n, classes) for each batch."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (name,) = (one.name for one in session.get_inputs())
    return [session.run([PROBABILITIES], {name: batch})[0] for batch in batches]
