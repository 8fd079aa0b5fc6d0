"""GluonCV's classification networks, as symbols.

Jian Guo et al.: "GluonCV and GluonNLP: Deep Learning in Computer Vision and Natural Language
Processing", JMLR 21, 2020. Their Gluon code runs once with a symbol instead of an array, which
yields a graph like all others here. Parameters have the names that GluonCV's `export` writes in a
fresh process, such as `densenet0_conv0_weight`, no matter what this process built before.

Different from Gluon: biases and betas have no weight decay, as in all of this project; the label
has SoftmaxOutput's name.
"""

import contextlib
import difflib
import importlib
import sys
import warnings
from types import ModuleType
from typing import Any, Dict, Iterator, Optional, Tuple

from PIL import ImageFile

from imagenet_trainer.errors import ArgumentError, InputError
from imagenet_trainer.graph import GraphError, Symbol, as_graph
from imagenet_trainer.system.arrays import Arrays
from imagenet_trainer.system.mxnet_import import mx

# Attributes that Gluon gives its variables for its own trainer; MXNet's Module would obey some.
_GLUON_ONLY = ("__shape__", "__dtype__", "__lr_mult__", "__wd_mult__", "__init__",
               "__storage_type__")  # fmt: skip
# With its dependencies it installs opencv-python, which overwrites files of the headless package.
INSTALL = "pip install portalocker; pip install --no-deps 'gluoncv>=0.10.5'"


def get_symbol(num_classes: int, image_shape: Tuple[int, ...], name: str) -> Symbol:
    """(batch, *image_shape) to (batch, num_classes) of GluonCV's network `name`.

    Raises ArgumentError if GluonCV is not installed, if it has no such network, if the network is
    not a classifier, and for image sizes that the network does not accept.
    """
    count = "num_classes" if name.startswith("hrnet") else "classes"
    with _fresh_names():
        net = _network(name, pretrained=False, **{count: num_classes})
        traced = _traced(net, name)
    return _checked(_without_gluon(traced), name, num_classes, image_shape)


def pretrained_parameters(name: str) -> Tuple[Arrays, Arrays]:
    """Arguments and auxiliary states that GluonCV publishes for `name`, from files on disk.

    GluonCV reads them from ~/.mxnet/models, or `models` below MXNET_HOME, and checks their SHA-1.
    Raises InputError as `get_symbol` does, if nothing is published, and, with the address and the
    folder, if a file is missing or has another SHA-1: nothing is downloaded.
    """
    with _fresh_names():
        net = _network(name, pretrained=True)
        values = {key: value.data().asnumpy() for key, value in net.collect_params().items()}
    aux = {key: value for key, value in values.items() if "_running_" in key}
    return {key: value for key, value in values.items() if key not in aux}, aux


def structural_names(name: str) -> Dict[str, str]:
    """The names in files of Gluon's `save_parameters` by those of the symbol's parameters."""
    with _fresh_names():
        net = _network(name, pretrained=False)
        found = net._collect_params_with_prefix()
    return {parameter.name: key for key, parameter in found.items()}


def names() -> Tuple[str, ...]:
    """All of GluonCV's names, including networks for other tasks than classification."""
    return tuple(import_gluoncv().model_zoo.get_model_list())


def import_gluoncv() -> ModuleType:
    """Import the package; ArgumentError with the command that installs it.

    GluonCV refuses to be imported together with PyTorch 2, which its classification networks do
    not need. So PyTorch is hidden during the import.
    """
    if "gluoncv" in sys.modules:
        return sys.modules["gluoncv"]
    _ = mx.__version__  # imports MXNet first, as system.mxnet_import does
    try:
        with _hidden("torch"), _whole_images(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("gluoncv")
    except ImportError as error:
        raise ArgumentError(
            "network", "gluoncv/...", f"GluonCV cannot be imported ({error}); run: {INSTALL}"
        ) from error


@contextlib.contextmanager
def _whole_images() -> Iterator[None]:
    """Keep Pillow from loading truncated images, which GluonCV allows for the whole process."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


@contextlib.contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Make `import module` fail."""
    missing = object()
    before = sys.modules.get(module, missing)
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]
        if before is not missing:
            sys.modules[module] = before  # type: ignore[assignment]


def _network(name: str, **options: Any) -> Any:
    """The Gluon block; ArgumentError for an unknown name, or if it does not take an option."""
    zoo = import_gluoncv().model_zoo
    known = list(zoo.get_model_list())
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean gluoncv/{near[0]}? " if near else ""
        raise ArgumentError(
            "network",
            f"gluoncv/{name}",
            f"GluonCV has no such network; {hint}see the model zoo in its documentation",
        )
    try:
        with _no_downloads(name, options["pretrained"]):
            return zoo.get_model(name, **options)
    except (KeyError, ValueError) as error:
        if options["pretrained"]:
            raise InputError(f"gluoncv/{name}: GluonCV publishes no parameters for it") from error
        raise _not_a_classifier(name) from error
    except (TypeError, AssertionError, AttributeError, NotImplementedError) as error:
        raise _not_a_classifier(name) from error


def _traced(net: Any, name: str) -> Symbol:
    """Its logits as a symbol; the first of several outputs, as the others are auxiliary."""
    try:
        with warnings.catch_warnings(), _traceable_group_norm():
            warnings.simplefilter("ignore")
            outputs = net(mx.sym.var("data"))
    except Exception as error:  # Gluon code that needs arrays or other inputs may raise anything
        raise _not_a_classifier(name) from error
    if isinstance(outputs, (tuple, list)):
        outputs = outputs[0]
    try:
        return as_graph(mx.sym.SoftmaxOutput(outputs, name="softmax"))
    except GraphError as error:  # operators of quantised networks and of detectors
        raise _not_a_classifier(name) from error


def _without_gluon(symbol: Symbol) -> Symbol:
    """The graph without Gluon's attributes of variables."""
    changes: Dict[str, Dict[str, Optional[str]]] = {}
    for node in symbol.nodes:
        if node.operator is None:
            removed = dict.fromkeys(_GLUON_ONLY)
            if "groupnorm" in node.name:
                del removed["__shape__"]  # it does not follow from the data
            changes[node.name] = {**removed}
    return symbol.with_attributes(changes)


def _checked(symbol: Symbol, name: str, num_classes: int, image_shape: Tuple[int, ...]) -> Symbol:
    if symbol.list_outputs() != ["softmax_output"]:
        raise _not_a_classifier(name)
    try:
        _, outputs, _ = symbol.infer_shape(data=(1, *image_shape))
    except GraphError as error:
        if any(len(node.values.get("kernel") or ()) == 3 for node in symbol.nodes):
            raise _not_a_classifier(name) from error  # it takes the frames of a video
        raise ArgumentError(
            "image_shape", image_shape, f"gluoncv/{name} does not accept images of this size"
        ) from error
    if outputs != [(1, num_classes)]:
        raise _not_a_classifier(name)
    return symbol


def _not_a_classifier(name: str) -> ArgumentError:
    return ArgumentError(
        "network",
        f"gluoncv/{name}",
        "not an image classifier with a free number of classes (as networks for videos and for "
        "detection), or GluonCV cannot export it as a symbol; choose another one",
    )


def _fresh_names() -> Any:
    """Gluon's and MXNet's counters of names start at zero in this context."""
    return mx.name.NameManager()


@contextlib.contextmanager
def _no_downloads(name: str, pretrained: bool) -> Iterator[None]:
    """Make GluonCV fail, with the way out, instead of downloading a file."""
    store = sys.modules["gluoncv.model_zoo.model_store"]

    def refuse(url: str, path: str = "", **_: Any) -> None:
        if not pretrained:  # detectors load a classifier's parameters by default
            raise _not_a_classifier(name)
        raise InputError(
            f"gluoncv/{name}: its parameters are not in {path.rpartition('/')[0]}, or have another "
            f"SHA-1; nothing is downloaded automatically: fetch {url} and unpack it there"
        )

    with _replaced(store, "download", refuse):
        yield


@contextlib.contextmanager
def _traceable_group_norm() -> Iterator[None]:
    """Replace the forward of GluonCV's GroupNorm, which reads a shape that symbols do not have.

    MXNet's operator has one gamma for each group, so the gammas of the channels follow it.
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
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
