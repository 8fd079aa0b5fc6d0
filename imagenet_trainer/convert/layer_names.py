"""The names of layers in torchvision, timm and Gluon, for networks that are equal to ours.

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
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from imagenet_trainer.convert.model_zoo import GLUONCV_COLOURS, Colours
from imagenet_trainer.graph import Node, Symbol
from imagenet_trainer.graph.operators import SHAPELESS

Naming = Callable[[Sequence[str]], List[str]]  # from our layers, in the graph's order, to theirs
Rules = Mapping[str, Union[str, Callable[..., str]]]

TORCHVISION, TIMM, GLUON = "torchvision", "timm", "gluon"
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


def _by(rules: Rules) -> Naming:
    """Each name by the rule whose pattern it matches; groups of digits are numbers."""

    def renamed(name: str) -> str:
        for pattern, rule in rules.items():
            match = re.fullmatch(pattern, name)
            if match and isinstance(rule, str):
                return rule
            if match and callable(rule):
                return rule(*(int(g) if g and g.isdigit() else g for g in match.groups()))
        raise AssertionError(f"no rule for {name}")

    return lambda names: [renamed(name) for name in names]


def _in_order(*modules: str) -> Naming:
    return lambda names: list(modules)


_UNIT = r"stage(\d)_unit(\d+)_"
_TORCH_RESNET = _by({
    "conv0": "conv1", "bn0": "bn1", "fc1": "fc",
    _UNIT + r"(conv|bn)(\d)": lambda s, u, kind, n: f"layer{s}.{u - 1}.{kind}{n}",
    _UNIT + "sc(_bn)?": lambda s, u, bn: f"layer{s}.{u - 1}.downsample.{1 if bn else 0}",
    _UNIT + r"se_(fc\d)": lambda s, u, layer: f"layer{s}.{u - 1}.se.{layer}",
})  # fmt: skip
# Of timm and GluonCV; both pool in front of a projection.
_RESNET_D = _by({
    r"conv0_(\d)(_bn)?": lambda n, bn: f"conv1.{3 * n - (2 if bn else 3)}",
    "bn0": "bn1", "fc1": "fc",
    _UNIT + r"(conv|bn)(\d)": lambda s, u, kind, n: f"layer{s}.{u - 1}.{kind}{n}",
    _UNIT + "sc(_bn)?": lambda s, u, bn: f"layer{s}.{u - 1}.downsample.{2 if bn else 1}",
})  # fmt: skip
_REGNET = {"sc": "proj", "se": "f.se", "conv1": "f.a", "conv2": "f.b", "conv3": "f.c"}
_TORCH_REGNET = _by({
    "conv0(_bn)?": lambda bn: f"stem.{1 if bn else 0}", "fc1": "fc",
    _UNIT + r"(sc|se|conv\d)(?:_(bn|fc\d))?":
        lambda s, u, part, end: f"trunk_output.block{s}.block{s}-{u - 1}.{_REGNET[part]}."
        + {None: "0", "bn": "1"}.get(end, str(end)),
})  # fmt: skip
_PARTS = {"dw": "block.0", "ln": "block.2", "conv1": "block.3", "conv2": "block.5",
          "scale": "layer_scale"}  # fmt: skip
_TORCH_CONVNEXT = _by({
    "conv0": "features.0.0", "ln0": "features.0.1", "ln1": "classifier.0", "fc1": "classifier.2",
    r"stage(\d)_(ln|conv)": lambda s, part: f"features.{2 * s - 2}.{int(part == 'conv')}",
    _UNIT + r"(\w+)": lambda s, u, part: f"features.{2 * s - 1}.{u - 1}.{_PARTS[part]}",
})  # fmt: skip
_TRANSFORMER = {"ln1": "norm1", "ln2": "norm2", "qkv": "attn.qkv", "proj": "attn.proj",
                "fc1": "mlp.fc1", "fc2": "mlp.fc2"}  # fmt: skip
_TIMM_VIT = _by({
    "conv0": "patch_embed.proj", "class_token": "cls_token", "positions": "pos_embed",
    "ln0": "norm", "fc1": "head",
    r"block(\d+)_(\w+)": lambda n, part: f"blocks.{n - 1}.{_TRANSFORMER[part]}",
})  # fmt: skip
_GLUON_RESNET = _by({
    "conv0": "features.0", "bn0": "features.1", "fc1": "output",
    _UNIT + r"conv(\d)": lambda s, u, n: f"features.{s + 3}.{u - 1}.body.{3 * n - 3}",
    _UNIT + r"bn(\d)": lambda s, u, n: f"features.{s + 3}.{u - 1}.body.{3 * n - 2}",
    _UNIT + "sc(_bn)?":
        lambda s, u, bn: f"features.{s + 3}.{u - 1}.downsample.{1 if bn else 0}",
})  # fmt: skip
_NORM = {"conv": "conv", "bn": "norm"}
_TORCH_DENSENET = _by({
    "conv0": "features.conv0", "bn0": "features.norm0", "bn1": "features.norm5",
    "fc1": "classifier",
    _UNIT + r"(conv|bn)(\d)":
        lambda s, u, kind, n: f"features.denseblock{s}.denselayer{u}.{_NORM[kind]}{n}",
    r"transition(\d)_(conv|bn)": lambda t, kind: f"features.transition{t}.{_NORM[kind]}",
})  # fmt: skip
_GLUON_DENSENET = _by({
    "conv0": "features.0", "bn0": "features.1", "bn1": "features.11", "fc1": "output",
    _UNIT + r"bn(\d)": lambda s, u, n: f"features.{2 * s + 2}.{u - 1}.1.{3 * n - 3}",
    _UNIT + r"conv(\d)": lambda s, u, n: f"features.{2 * s + 2}.{u - 1}.1.{3 * n - 1}",
    r"transition(\d)_(conv|bn)":
        lambda t, kind: f"features.{2 * t + 3}.{2 if kind == 'conv' else 0}",
})  # fmt: skip


def _squeezenet(fires: Sequence[int], gluon: bool) -> Naming:
    """`fires`: positions of fire2 to fire9 in `features`."""
    ends = {"squeeze1x1": "squeeze", "expand1x1": "expand1x1", "expand3x3": "expand3x3"}
    if gluon:
        ends = {"squeeze1x1": "0.0", "expand1x1": "1.0.0", "expand3x3": "1.1.0"}
    return _by({
        "conv1": "features.0", "conv10": "output.0" if gluon else "classifier.1",
        r"fire(\d)_(\w+)": lambda n, part: f"features.{fires[n - 2]}.{ends[part]}",
    })  # fmt: skip


def _vgg(library: str) -> Naming:
    def names(ours: Sequence[str]) -> List[str]:
        # A convolution, a BatchNorm if there is one, and a rectifier; a pooling after each group.
        step = 3 if "bn1_1" in ours else 2
        found: List[str] = []
        convolutions = 0
        for name in ours:
            match = re.fullmatch(r"(conv|bn)(\d)_\d", name)
            if match:
                convolutions += match[1] == "conv"
                position = step * (convolutions - 1) + int(match[2]) - 1
                found.append(f"features.{position + (match[1] == 'bn')}")
        end = step * convolutions + 5
        return (
            found
            + {
                TORCHVISION: ["classifier.0", "classifier.3", "classifier.6"],
                TIMM: ["pre_logits.fc1", "pre_logits.fc2", "head.fc"],
                GLUON: [f"features.{end}", f"features.{end + 2}", "output"],
            }[library]
        )

    return names


# The towers of the blocks of Inception v3, in the graph's order.
_TORCH_TOWERS = {
    "35": "1x1 5x5_1 5x5_2 3x3dbl_1 3x3dbl_2 3x3dbl_3 _pool",
    "35 to 17": "3x3 3x3dbl_1 3x3dbl_2 3x3dbl_3",
    "17": "1x1 7x7_1 7x7_2 7x7_3 7x7dbl_1 7x7dbl_2 7x7dbl_3 7x7dbl_4 7x7dbl_5 _pool",
    "17 to 8": "3x3_1 3x3_2 7x7x3_1 7x7x3_2 7x7x3_3 7x7x3_4",
    "8": "1x1 3x3_1 3x3_2a 3x3_2b 3x3dbl_1 3x3dbl_2 3x3dbl_3a 3x3dbl_3b _pool",
}
_GLUON_TOWERS = {
    "35": "0.0 1.0 1.1 2.0 2.1 2.2 3.1",
    "35 to 17": "0.0 1.0 1.1 1.2",
    "17": "0.0 1.0 1.1 1.2 2.0 2.1 2.2 2.3 2.4 3.1",
    "17 to 8": "0.0 0.1 1.0 1.1 1.2 1.3",
    "8": "0.0 1.0.0 1.1.0.0 1.1.1.0 2.0.0 2.0.1 2.1.0.0 2.1.1.0 3.1",
}
_BLOCKS = ("35", "35", "35", "35 to 17", "17", "17", "17", "17", "17 to 8", "8", "8")


def _each(modules: Sequence[str], *ends: str) -> List[str]:
    return [f"{module}.{end}" for module in modules for end in ends]


def _inception_v3(names: Sequence[str]) -> List[str]:
    stem = [f"Conv2d_{n}" for n in ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")]
    blocks = [f"Mixed_{n}" for n in "5b 5c 5d 6a 6b 6c 6d 6e 7a 7b 7c".split()]
    towers = [
        f"{block}.branch{tower}"
        for block, kind in zip(blocks, _BLOCKS)
        for tower in _TORCH_TOWERS[kind].split()
    ]
    return [*_each(stem + towers, "conv", "bn"), "fc"]


def _gluon_inception_v3(names: Sequence[str]) -> List[str]:
    stem = [f"features.{n}" for n in (0, 1, 2, 4, 5)]
    towers = [
        f"features.{block}.{tower}"
        for block, kind in enumerate(_BLOCKS, start=7)
        for tower in _GLUON_TOWERS[kind].split()
    ]
    return [*_each(stem + towers, "0", "1"), "output"]


def _googlenet(library: str) -> Naming:
    towers = "branch1 branch2.0 branch2.1 branch3.0 branch3.1 branch4.1".split()
    ends = ("conv", "bn")
    if library == GLUON:
        towers, ends = "0.0 1.0 1.1 2.0 2.1 3.1".split(), ("0", "1")
    blocks = [f"inception{n}" for n in "3a 3b 4a 4b 4c 4d 4e 5a 5b".split()]
    modules = ["conv1", "conv2", "conv3", *(f"{b}.{t}" for b in blocks for t in towers)]
    last = "output" if library == GLUON else "fc"
    return _in_order(*_each(modules, *ends), last)


_REPEATS = {35: "repeat", 17: "repeat_1", 8: "repeat_2"}


def _repeated(size: int, unit: int) -> str:
    """The name in timm of a unit of Inception-ResNet v2; the last one is outside the sequence."""
    return "block8" if (size, unit) == (8, 10) else f"{_REPEATS[size]}.{unit - 1}"


def _tower(branch: int, layer: object, bn: object) -> str:
    position = "" if layer is None else f".{layer}"
    return f"branch{branch}{position}.{'bn' if bn else 'conv'}"


_TIMM_INCEPTION_RESNET = _by({
    "fc1": "classif",
    r"(conv2d_\w\w)(_bn)?": lambda name, bn: f"{name}.{'bn' if bn else 'conv'}",
    "mixed_5b_branch3(_bn)?": lambda bn: f"mixed_5b.branch3.1.{'bn' if bn else 'conv'}",
    r"mixed_7a_branch(\d)(_bn)?": lambda *tower: f"mixed_7a.{_tower(tower[0], 0, tower[1])}",
    r"(mixed_\w\w)_branch(\d)(?:_conv(\d))?(_bn)?":
        lambda block, *tower: f"{block}.{_tower(*tower)}",
    r"block(\d+)_(\d+)_up": lambda size, unit: f"{_repeated(size, unit)}.conv2d",
    r"block(\d+)_(\d+)_branch(\d)(?:_conv(\d))?(_bn)?":
        lambda size, unit, *tower: f"{_repeated(size, unit)}.{_tower(*tower)}",
})  # fmt: skip


def _gluon_mobilenet(names: Sequence[str]) -> List[str]:
    count = (len(names) - 1) // 2
    return [*(f"features.{3 * n + k}" for n in range(count) for k in (0, 1)), "output"]


def _gluon_mobilenet_v2(names: Sequence[str]) -> List[str]:
    blocks = [f"features.{n}.out.{k}" for n in range(3, 20) for k in (0, 1, 3, 4, 6, 7)]
    return ["features.0", "features.1", *blocks, "features.20", "features.21", "output.0"]


_PART = r"block(\d+)(?:_unit(\d+))?_([a-z]+)(?:_(bn|fc\d))?"


def _torch_blocks(dense: Mapping[str, str]) -> Naming:
    """Of torchvision's MobileNet v3 and EfficientNet, which number the parts of each block.

    Blocks are `blockN` or `blockN_unitM`, parts `expand`, `dw`, `se` and `project`.
    """
    return lambda names: _in_blocks(names, dense)


def _in_blocks(ours: Sequence[str], dense: Mapping[str, str]) -> List[str]:
    found: List[str] = []
    parts: Dict[str, List[str]] = {}
    for name in ours:
        match = re.fullmatch(_PART, name)
        if match:
            block = match[1] + (f".{int(match[2]) - 1}" if match[2] else "")
            known = parts.setdefault(block, [])
            known += [match[3]] if match[3] not in known else []
            end = {None: "0", "bn": "1"}.get(match[4], match[4])
            found.append(f"features.{block}.block.{known.index(match[3])}.{end}")
        elif name.startswith("conv"):
            position = 0 if "conv1" in name else int(found[-1].split(".")[1]) + name.endswith("2")
            found.append(f"features.{position}.{int(name.endswith('bn'))}")
        else:
            found.append(dense[name])
    return found


_TIMM_EFFICIENTNET = _by({
    "conv1": "conv_stem", "conv1_bn": "bn1", "conv2": "conv_head", "conv2_bn": "bn2",
    "fc1": "classifier",
    _PART: lambda s, u, part, end: f"blocks.{s - 1}.{u - 1}.{_timm_part(s, part, end)}",
})  # fmt: skip


def _timm_part(stage: int, part: str, end: Optional[str]) -> str:
    if part == "se":
        return {"fc1": "se.conv_reduce", "fc2": "se.conv_expand"}[str(end)]
    # The blocks of the first stage do not expand.
    parts = {"dw": "conv_dw", "project": "conv_pw"} if stage == 1 else _TIMM_PARTS
    return f"bn{list(parts).index(part) + 1}" if end else parts[part]


_TIMM_PARTS = {"expand": "conv_pw", "dw": "conv_dw", "project": "conv_pwl"}


_ALEXNET = {
    TORCHVISION: _in_order(
        *(f"features.{n}" for n in (0, 3, 6, 8, 10)), *(f"classifier.{n}" for n in (1, 4, 6))
    ),
    GLUON: _in_order(*(f"features.{n}" for n in (0, 2, 4, 5, 6, 9, 11)), "output"),
}
_FIRES = {"1.0": (3, 4, 5, 7, 8, 9, 10, 12), "1.1": (3, 4, 6, 7, 9, 10, 11, 12)}


def _torch() -> List[Equal]:
    both = [
        *((f"resnet{n}", f"resnet-v1b-{n}", _TORCH_RESNET) for n in (18, 34, 50, 101, 152)),
        *((f"densenet{n}", f"densenet-{n}", _TORCH_DENSENET) for n in (121, 161, 169, 201)),
    ]
    found = [Equal(library, *one) for library in (TORCHVISION, TIMM) for one in both]
    for depth in (18, 34, 50, 101, 152):
        found.append(Equal(TIMM, f"resnet{depth}d", f"resnet-v1d-{depth}", _RESNET_D))
        found.append(Equal(TIMM, f"seresnet{depth}", f"seresnet-{depth}", _TORCH_RESNET))
    for library in (TORCHVISION, TIMM):
        # torchvision's published parameters take the mean and deviation of TensorFlow, after a
        # layer (`transform_input`) that is not in its files.
        found.append(Equal(library, "inception_v3", "inception-v3", _inception_v3, _HALF, 342))
        for depth in (11, 13, 16, 19):
            found.append(Equal(library, f"vgg{depth}", f"vgg-{depth}", _vgg(library)))
            found.append(Equal(library, f"vgg{depth}_bn", f"vgg-bn-{depth}", _vgg(library)))
    for version, fires in _FIRES.items():
        name = f"squeezenet{version.replace('.', '_')}"
        naming = _squeezenet(fires, gluon=False)
        found.append(Equal(TORCHVISION, name, f"squeezenet{version}", naming))
    for size in ("large", "small"):
        naming = _torch_blocks({"fc1": "classifier.0", "fc2": "classifier.3"})
        found.append(Equal(TORCHVISION, f"mobilenet_v3_{size}", f"mobilenetv3-{size}", naming))
    for kind in "xy":
        for size in ("400mf", "800mf", "1.6gf", "3.2gf", "8gf", "16gf", "32gf"):
            name = f"regnet_{kind}_{size.replace('.', '_')}"
            found.append(Equal(TORCHVISION, name, f"regnet-{kind}-{size}", _TORCH_REGNET))
    for size, resize in (("tiny", 236), ("small", 230), ("base", 232)):
        how = (_TORCH_CONVNEXT, GLUONCV_COLOURS, resize)
        found.append(Equal(TORCHVISION, f"convnext_{size}", f"convnext-{size}", *how))
    for number, resize in enumerate((256, 256, 288, 320, 384)):
        b, lite = f"efficientnet-b{number}", f"efficientnet-lite{number}"
        naming = _torch_blocks({"fc1": "classifier.1"})
        found += [
            Equal(TORCHVISION, f"efficientnet_b{number}", b, naming, GLUONCV_COLOURS, resize),
            Equal(TIMM, f"efficientnet_b{number}", b, _TIMM_EFFICIENTNET),
            Equal(TIMM, f"efficientnet_lite{number}", lite, _TIMM_EFFICIENTNET),
        ]
    return [
        *found,
        Equal(TORCHVISION, "alexnet", "alexnet", _ALEXNET[TORCHVISION]),
        Equal(TORCHVISION, "googlenet", "googlenet", _googlenet(TORCHVISION), _HALF),
        Equal(TIMM, "vit_small_patch16_224", "vit-small", _TIMM_VIT, _HALF, 248),
        Equal(TIMM, "inception_resnet_v2", "inception-resnet-v2", _TIMM_INCEPTION_RESNET, _HALF,
              333),
    ]  # fmt: skip


def _gluon() -> List[Equal]:
    widths = {1.0: "", 0.75: "0.75", 0.5: "0.5", 0.25: "0.25"}
    rows = [
        ("alexnet", "alexnet", _ALEXNET[GLUON]),
        ("googlenet", "googlenet", _googlenet(GLUON)),
        ("inceptionv3", "inception-v3", _gluon_inception_v3),
        *((f"resnet{n}_v1", f"resnet-v1-{n}", _GLUON_RESNET) for n in (18, 34, 50, 101, 152)),
        *((f"resnet{n}_v1b", f"resnet-v1b-{n}", _TORCH_RESNET) for n in (18, 34, 50, 101, 152)),
        *((f"resnet{n}_v1d", f"resnet-v1d-{n}", _RESNET_D) for n in (50, 101, 152)),
        *((f"densenet{n}", f"densenet-{n}", _GLUON_DENSENET) for n in (121, 161, 169, 201)),
        *((f"vgg{n}", f"vgg-{n}", _vgg(GLUON)) for n in (11, 13, 16, 19)),
        *((f"vgg{n}_bn", f"vgg-bn-{n}", _vgg(GLUON)) for n in (11, 13, 16, 19)),
        *((f"squeezenet{v}", f"squeezenet{v}", _squeezenet(f, True)) for v, f in _FIRES.items()),
        *((f"mobilenet{w}", f"mobilenet{end}", _gluon_mobilenet) for w, end in widths.items()),
        *(
            (f"mobilenetv2_{w}", f"mobilenetv2{end and '-' + end}", _gluon_mobilenet_v2)
            for w, end in widths.items()
        ),
    ]
    return [Equal(GLUON, *row) for row in rows]


NETWORKS: Tuple[Equal, ...] = (*_torch(), *_gluon())
