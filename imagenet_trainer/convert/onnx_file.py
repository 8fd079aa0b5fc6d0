"""ONNX files for people: images in, class probabilities out; compared with onnxruntime.

MXNet's exporter writes the graph. Here it is tidied, given its preprocessing, and proved.
"""

import json
from typing import Any, Dict, List, Sequence

import numpy as np

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import AnyPath, atomic_write

IMAGES, PLANES, PROBABILITIES = "pictures", "data", "probabilities"
OPSET, _IR = 13, 8  # operators and file format that every runtime since 2021 reads
_QUIET = 3  # onnxruntime's severity of errors


def needed() -> None:
    """Raise InputError unless the libraries are here."""
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise InputError(
            f"--to onnx: needs {error.name}; in the checkout run: pip install -e '.[export]'"
        ) from error
    # MXNet's exporter, of 2022, asks for this table.
    if not hasattr(onnx, "mapping"):
        raise InputError(
            f"--to onnx: MXNet's exporter cannot use onnx {onnx.__version__}; run: pip install "
            "'onnx<1.18'"
        )
    del onnxruntime


def tidied(path: AnyPath) -> Any:
    """The model that MXNet wrote: parameters are constants, the output is `probabilities`.

    As written, every parameter is an input too, which keeps runtimes from folding them.
    """
    import onnx

    model = onnx.load(path)
    graph = model.graph
    used = {name for node in graph.node for name in node.input}
    constants = [one for one in graph.initializer if one.name in used]
    named = {one.name for one in graph.initializer}
    inputs = [one for one in graph.input if one.name not in named]
    for field, kept in ((graph.initializer, constants), (graph.input, inputs)):
        del field[:]
        field.extend(kept)
    _rename_output(graph)
    # The exporter writes nodes of this version whatever onnx is installed, and does not say so.
    del model.opset_import[1:]
    model.opset_import[0].version = OPSET
    model.ir_version = _IR
    return model


def _rename_output(graph: Any) -> None:
    before = graph.output[0].name
    for node in graph.node:
        node.output[:] = [PROBABILITIES if name == before else name for name in node.output]
    graph.output[0].name = PROBABILITIES


def with_preprocessing(
    model: Any,
    image_shape: Sequence[int],
    mean: Sequence[float],
    std: Sequence[float],
    bgr: bool = False,
) -> Any:
    """The same behind a head: uint8 (batch, h, w, 3) RGB `images` instead of `data`, of which
    the network gets blue first with `bgr`.
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
    """Check a model, note in it what it is, and write it whole."""
    import onnx

    for key, value in about.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    onnx.checker.check_model(model)
    with atomic_write(path) as file:
        file.write(model.SerializeToString())


def answers(model: Any, batches: Sequence[np.ndarray]) -> List[np.ndarray]:
    """What onnxruntime answers on the CPU: probabilities float32 (n, classes) of each batch."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (name,) = (one.name for one in session.get_inputs())
    return [session.run([PROBABILITIES], {name: batch})[0] for batch in batches]
