"""The networks of torchvision, timm and Gluon that are equal to ours, and their parameters' names.

Two networks are equal if they compute the same with the same parameters: tests compare outputs. The
modules of their code were compared with the graphs here, so networks that differ in a constant are
not in the table:

- torchvision's and timm's MobileNet v2 does not expand its first block and has a bias in its
  classifier; timm's MobileNet v1 clips its activations at 6;
- ResNet-v2 and ResNeXt have another epsilon, and here a BatchNorm of the data;
- GluonCV's (not Gluon's) MobileNet v2 does not expand its first block either.
"""

import re
from dataclasses import dataclass
from typing import Dict, List, Tuple

from imagenet_trainer.convert.layer_names import (
    ALEXNET,
    FIRES,
    GLUON,
    GLUON_DENSENET,
    GLUON_RESNET,
    RESNET_D,
    TIMM,
    TIMM_EFFICIENTNET,
    TIMM_INCEPTION_RESNET,
    TIMM_VIT,
    TORCH_CONVNEXT,
    TORCH_DENSENET,
    TORCH_REGNET,
    TORCH_RESNET,
    TORCHVISION,
    Naming,
    gluon_inception_v3,
    gluon_mobilenet,
    gluon_mobilenet_v2,
    googlenet,
    inception_v3,
    squeezenet,
    torch_blocks,
    vgg,
)
from imagenet_trainer.convert.model_zoo import GLUONCV_COLOURS, Colours
from imagenet_trainer.graph import Node, Symbol
from imagenet_trainer.graph.operators import SHAPELESS

_LAYERS = ("Convolution", "FullyConnected", "BatchNorm", "LayerNorm")
# Parameters of a layer, in the order of its inputs.
_WEIGHTS = ("weight", "bias")
_TORCH_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
_GLUON_BATCH_NORM = ("gamma", "beta", "running_mean", "running_var")
_HALF: Tuple[Colours, Colours] = ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))


@dataclass(frozen=True)
class Equal:
    """A network of another library that is equal to one of ours."""

    library: str  # TORCHVISION, TIMM, GLUON
    name: str  # there
    network: str  # here, as `symbols.find` writes it
    naming: Naming
    # Of the published parameters.
    colours: Tuple[Colours, Colours] = GLUONCV_COLOURS
    resize: int = 0  # short side before the crop; 0: the crop's side times 256/224

    @property
    def interpolation(self) -> str:
        """How images are resized for it: torchvision and most models of timm use Pillow."""
        if self.library == GLUON:
            return "bilinear"
        linear = self.library == TORCHVISION and not self.name.startswith("efficientnet")
        return "pil-bilinear" if linear or "vgg" in self.name else "pil-bicubic"

    def their_shape(self, name: str, shape: Tuple[int, ...]) -> Tuple[int, ...]:
        """The shape there of a parameter of this name there; `shape` is ours."""
        if name.endswith(".layer_scale"):
            return (*shape, 1, 1)
        # ConvNeXt's dense layers are convolutions here.
        dense = self.network.startswith("convnext") and re.search(r"block\.[35]\.weight$", name)
        return shape[:2] if dense else shape

    @property
    def title(self) -> str:
        """`torchvision/resnet50`."""
        return f"{self.library}/{self.name}"


def layers(symbol: Symbol) -> List[Node]:
    """The nodes with parameters, in the graph's order: layers, and operators of one parameter.

    The latter are scales, which are reshaped, and embeddings.
    """
    return [node for node in symbol.nodes if node.op in _LAYERS or _single(node)]


def _single(node: Node) -> str:
    """The parameter of an operator that is no layer; "" for none."""
    if node.op not in SHAPELESS:
        return ""
    return next((one.node.name for one in node.inputs if not one.node.operator), "")


def parameter_names(symbol: Symbol, equal: Equal) -> Dict[str, str]:
    """Their names of all parameters and moving statistics by ours, in the graph's order."""
    batch_norm = _GLUON_BATCH_NORM if equal.library == GLUON else _TORCH_BATCH_NORM
    nodes = layers(symbol)
    names: Dict[str, str] = {}
    for node, module in zip(nodes, equal.naming([node.name for node in nodes])):
        if node.op not in _LAYERS:
            names[_single(node)] = module
            continue
        ends = batch_norm if node.op == "BatchNorm" else _WEIGHTS
        names.update({e.node.name: f"{module}.{end}" for e, end in zip(node.inputs[1:], ends)})
    return names


def _torch() -> List[Equal]:
    both = [
        *((f"resnet{n}", f"resnet-v1b-{n}", TORCH_RESNET) for n in (18, 34, 50, 101, 152)),
        *((f"densenet{n}", f"densenet-{n}", TORCH_DENSENET) for n in (121, 161, 169, 201)),
    ]
    found = [Equal(library, *one) for library in (TORCHVISION, TIMM) for one in both]
    for depth in (18, 34, 50, 101, 152):
        found.append(Equal(TIMM, f"resnet{depth}d", f"resnet-v1d-{depth}", RESNET_D))
        found.append(Equal(TIMM, f"seresnet{depth}", f"seresnet-{depth}", TORCH_RESNET))
    for library in (TORCHVISION, TIMM):
        # torchvision's published parameters take the mean and deviation of TensorFlow, after a
        # layer (`transform_input`) that is not in its files.
        found.append(Equal(library, "inception_v3", "inception-v3", inception_v3, _HALF, 342))
        for depth in (11, 13, 16, 19):
            found.append(Equal(library, f"vgg{depth}", f"vgg-{depth}", vgg(library)))
            found.append(Equal(library, f"vgg{depth}_bn", f"vgg-bn-{depth}", vgg(library)))
    for version, fires in FIRES.items():
        name = f"squeezenet{version.replace('.', '_')}"
        naming = squeezenet(fires, gluon=False)
        found.append(Equal(TORCHVISION, name, f"squeezenet{version}", naming))
    for size in ("large", "small"):
        naming = torch_blocks({"fc1": "classifier.0", "fc2": "classifier.3"})
        found.append(Equal(TORCHVISION, f"mobilenet_v3_{size}", f"mobilenetv3-{size}", naming))
    for kind in "xy":
        for size in ("400mf", "800mf", "1.6gf", "3.2gf", "8gf", "16gf", "32gf"):
            name = f"regnet_{kind}_{size.replace('.', '_')}"
            found.append(Equal(TORCHVISION, name, f"regnet-{kind}-{size}", TORCH_REGNET))
    for size, resize in (("tiny", 236), ("small", 230), ("base", 232)):
        how = (TORCH_CONVNEXT, GLUONCV_COLOURS, resize)
        found.append(Equal(TORCHVISION, f"convnext_{size}", f"convnext-{size}", *how))
    for number, resize in enumerate((256, 256, 288, 320, 384)):
        b, lite = f"efficientnet-b{number}", f"efficientnet-lite{number}"
        naming = torch_blocks({"fc1": "classifier.1"})
        found += [
            Equal(TORCHVISION, f"efficientnet_b{number}", b, naming, GLUONCV_COLOURS, resize),
            Equal(TIMM, f"efficientnet_b{number}", b, TIMM_EFFICIENTNET),
            Equal(TIMM, f"efficientnet_lite{number}", lite, TIMM_EFFICIENTNET),
        ]
    return [
        *found,
        Equal(TORCHVISION, "alexnet", "alexnet", ALEXNET[TORCHVISION]),
        Equal(TORCHVISION, "googlenet", "googlenet", googlenet(TORCHVISION), _HALF),
        Equal(TIMM, "vit_small_patch16_224", "vit-small", TIMM_VIT, _HALF, 248),
        Equal(TIMM, "inception_resnet_v2", "inception-resnet-v2", TIMM_INCEPTION_RESNET, _HALF,
              333),
    ]  # fmt: skip


def _gluon() -> List[Equal]:
    widths = {1.0: "", 0.75: "0.75", 0.5: "0.5", 0.25: "0.25"}
    rows = [
        ("alexnet", "alexnet", ALEXNET[GLUON]),
        ("googlenet", "googlenet", googlenet(GLUON)),
        ("inceptionv3", "inception-v3", gluon_inception_v3),
        *((f"resnet{n}_v1", f"resnet-v1-{n}", GLUON_RESNET) for n in (18, 34, 50, 101, 152)),
        *((f"resnet{n}_v1b", f"resnet-v1b-{n}", TORCH_RESNET) for n in (18, 34, 50, 101, 152)),
        *((f"resnet{n}_v1d", f"resnet-v1d-{n}", RESNET_D) for n in (50, 101, 152)),
        *((f"densenet{n}", f"densenet-{n}", GLUON_DENSENET) for n in (121, 161, 169, 201)),
        *((f"vgg{n}", f"vgg-{n}", vgg(GLUON)) for n in (11, 13, 16, 19)),
        *((f"vgg{n}_bn", f"vgg-bn-{n}", vgg(GLUON)) for n in (11, 13, 16, 19)),
        *((f"squeezenet{v}", f"squeezenet{v}", squeezenet(f, True)) for v, f in FIRES.items()),
        *((f"mobilenet{w}", f"mobilenet{end}", gluon_mobilenet) for w, end in widths.items()),
        *(
            (f"mobilenetv2_{w}", f"mobilenetv2{end and '-' + end}", gluon_mobilenet_v2)
            for w, end in widths.items()
        ),
    ]
    return [Equal(GLUON, *row) for row in rows]


NETWORKS: Tuple[Equal, ...] = (*_torch(), *_gluon())
