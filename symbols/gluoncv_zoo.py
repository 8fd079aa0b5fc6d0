"""GluonCV's classification networks, as symbols.

Jian Guo et al.: "GluonCV and GluonNLP: Deep Learning in Computer Vision and Natural Language
Processing", JMLR 21, 2020. Their Gluon code is run once with a symbol instead of an array; what
comes out is a graph like every other here. Names of parameters are those that GluonCV's `export`
writes in a fresh process, `densenet0_conv0_weight`, whatever was built before in this one.

Different from Gluon: biases and betas have no weight decay, as everywhere in this project (Gluon
decays them); the label has SoftmaxOutput's name.
"""

import contextlib
import difflib
import importlib
import json
import sys
import warnings
from types import ModuleType
from typing import Any, Iterator, Tuple

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.arrays import Arrays
from imagenet_trainer.system.mxnet_import import mx

# What Gluon writes onto its variables for its own trainer; MXNet's Module would obey some of it.
_GLUON_ONLY = ("__shape__", "__dtype__", "__lr_mult__", "__wd_mult__", "__init__",
               "__storage_type__")  # fmt: skip
# With all that it asks for it brings opencv-python, whose files overwrite the headless one's.
INSTALL = "pip install portalocker; pip install --no-deps 'gluoncv>=0.10.5'"


def get_symbol(num_classes: int, image_shape: Tuple[int, ...], name: str) -> mx.sym.Symbol:
    """(batch, *image_shape) to (batch, num_classes) of GluonCV's network `name`.

    Raises InputError when GluonCV is not installed or knows no such network, when the network is
    not one for classification, and for images of a size that it does not take.
    """
    count = "num_classes" if name.startswith("hrnet") else "classes"
    with _fresh_names():
        net = _network(name, pretrained=False, **{count: num_classes})
        traced = _traced(net, name)
    return _checked(_without_gluon(traced), name, num_classes, image_shape)


def pretrained_parameters(name: str) -> Tuple[Arrays, Arrays]:
    """Arguments and auxiliary states that GluonCV publishes for `name`, from the files on disk.

    GluonCV looks for them in ~/.mxnet/models, or `models` below MXNET_HOME, and checks their SHA-1.
    Raises InputError as `get_symbol`, where nothing is published, and naming the address and the
    place of a file that is not there or is another one: nothing is downloaded.
    """
    with _fresh_names():
        net = _network(name, pretrained=True)
        values = {key: value.data().asnumpy() for key, value in net.collect_params().items()}
    aux = {key: value for key, value in values.items() if "_running_" in key}
    return {key: value for key, value in values.items() if key not in aux}, aux


def names() -> Tuple[str, ...]:
    """All of GluonCV's names; networks for other work than classification are among them."""
    return tuple(import_gluoncv().model_zoo.get_model_list())


def import_gluoncv() -> ModuleType:
    """The package; InputError with the command that installs it.

    GluonCV refuses to be imported beside PyTorch 2, which its classification networks do not need:
    PyTorch is out of its sight for that moment.
    """
    if "gluoncv" in sys.modules:
        return sys.modules["gluoncv"]
    try:
        with _hidden("torch"), _whole_images(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("gluoncv")
    except ImportError as error:
        raise InputError(
            f"--network gluoncv/...: GluonCV cannot be imported ({error}); run: {INSTALL}"
        ) from error


@contextlib.contextmanager
def _whole_images() -> Iterator[None]:
    """Keep Pillow's refusal of truncated images, which GluonCV switches off for the process."""
    from PIL import ImageFile

    kept = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = kept


@contextlib.contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Let `import module` fail."""
    missing = object()
    kept = sys.modules.get(module, missing)
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]
        if kept is not missing:
            sys.modules[module] = kept  # type: ignore[assignment]


def _network(name: str, **options: Any) -> Any:
    """The Gluon block; InputError for a name that is none or that lacks an option."""
    zoo = import_gluoncv().model_zoo
    known = list(zoo.get_model_list())
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean gluoncv/{near[0]}? " if near else ""
        raise InputError(
            f"--network gluoncv/{name}: GluonCV has no such network; {hint}its documentation's "
            "model zoo lists them"
        )
    try:
        with _no_downloads(name, options["pretrained"]):
            return zoo.get_model(name, **options)
    except (KeyError, ValueError) as error:
        if options["pretrained"]:
            raise InputError(f"gluoncv/{name}: GluonCV publishes no parameters of it") from error
        raise _of_another_kind(name) from error
    except (TypeError, AssertionError, AttributeError, NotImplementedError) as error:
        raise _of_another_kind(name) from error


def _traced(net: Any, name: str) -> mx.sym.Symbol:
    """Its logits as a symbol; of several outputs the first, the others being auxiliary."""
    try:
        with warnings.catch_warnings(), _traceable_group_norm():
            warnings.simplefilter("ignore")
            outputs = net(mx.sym.var("data"))
    except Exception as error:  # whatever Gluon code raises that wants arrays or other inputs
        raise _of_another_kind(name) from error
    if isinstance(outputs, (tuple, list)):
        outputs = outputs[0]
    return mx.sym.SoftmaxOutput(outputs, name="softmax")


def _without_gluon(symbol: mx.sym.Symbol) -> mx.sym.Symbol:
    """The graph without Gluon's notes on its variables."""
    graph = json.loads(symbol.tojson())
    for node in graph["nodes"]:
        if node["op"] == "null" and "attrs" in node:
            kept = {key: v for key, v in node["attrs"].items() if key not in _GLUON_ONLY}
            if "groupnorm" in node["name"] and "__shape__" in node["attrs"]:
                kept["__shape__"] = node["attrs"]["__shape__"]  # nothing else tells it
            node["attrs"] = kept
            if not kept:
                del node["attrs"]
    return mx.sym.load_json(json.dumps(graph))


def _checked(
    symbol: mx.sym.Symbol, name: str, num_classes: int, image_shape: Tuple[int, ...]
) -> mx.sym.Symbol:
    if symbol.list_outputs() != ["softmax_output"]:
        raise _of_another_kind(name)
    try:
        _, (shape,), _ = symbol.infer_shape(data=(1, *image_shape))
    except mx.base.MXNetError as error:
        raise InputError(
            f"--image-shape {','.join(map(str, image_shape))}: gluoncv/{name} does not take "
            "images of this size"
        ) from error
    if shape != (1, num_classes):
        raise _of_another_kind(name)
    return symbol


def _of_another_kind(name: str) -> InputError:
    return InputError(
        f"--network gluoncv/{name}: is not a network that classifies images into any number of "
        "classes, or GluonCV cannot make a symbol of it; choose another"
    )


def _fresh_names() -> Any:
    """Gluon's and MXNet's counters of names begin at nought in here."""
    return mx.name.NameManager()


@contextlib.contextmanager
def _no_downloads(name: str, pretrained: bool) -> Iterator[None]:
    """Let GluonCV fail, with the way out, where it would fetch a file."""
    store = sys.modules["gluoncv.model_zoo.model_store"]

    def refuse(url: str, path: str = "", **_: Any) -> None:
        if not pretrained:  # detectors begin with a classifier's parameters unless told not to
            raise _of_another_kind(name)
        raise InputError(
            f"gluoncv/{name}: its parameters are not in {path.rpartition('/')[0]}, or are others "
            f"than GluonCV's; nothing is downloaded here: fetch {url} and unpack it there"
        )

    with _replaced(store, "download", refuse):
        yield


@contextlib.contextmanager
def _traceable_group_norm() -> Iterator[None]:
    """GluonCV's GroupNorm reads the shape of its input, which a symbol does not have yet.

    MXNet's operator has one gamma for each group, so those of the channels come behind it.
    """

    def forward(self: Any, F: Any, x: Any, gamma: Any, beta: Any) -> Any:
        ones, zeros = F.ones(shape=(self.ngroups,)), F.zeros(shape=(self.ngroups,))
        x = F.GroupNorm(x, ones, zeros, num_groups=self.ngroups, eps=self._kwargs["eps"])
        x = F.broadcast_mul(x, gamma.reshape((1, -1, 1, 1)))
        return F.broadcast_add(x, beta.reshape((1, -1, 1, 1)))

    with _replaced(import_gluoncv().nn.GroupNorm, "hybrid_forward", forward):
        yield


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    kept = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, kept)
