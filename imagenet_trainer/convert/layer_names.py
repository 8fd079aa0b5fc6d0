"""The names of layers in torchvision, timm and Gluon for ours, by families of networks.

`equal_networks` says which networks these are for.
"""

import re
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Union

Naming = Callable[[Sequence[str]], List[str]]  # from our layers, in the graph's order, to theirs
Rules = Mapping[str, Union[str, Callable[..., str]]]

TORCHVISION, TIMM, GLUON = "torchvision", "timm", "gluon"


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
TORCH_RESNET = _by({
    "conv0": "conv1", "bn0": "bn1", "fc1": "fc",
    _UNIT + r"(conv|bn)(\d)": lambda s, u, kind, n: f"layer{s}.{u - 1}.{kind}{n}",
    _UNIT + "sc(_bn)?": lambda s, u, bn: f"layer{s}.{u - 1}.downsample.{1 if bn else 0}",
    _UNIT + r"se_(fc\d)": lambda s, u, layer: f"layer{s}.{u - 1}.se.{layer}",
})  # fmt: skip
# Of timm and GluonCV; both pool in front of a projection.
RESNET_D = _by({
    r"conv0_(\d)(_bn)?": lambda n, bn: f"conv1.{3 * n - (2 if bn else 3)}",
    "bn0": "bn1", "fc1": "fc",
    _UNIT + r"(conv|bn)(\d)": lambda s, u, kind, n: f"layer{s}.{u - 1}.{kind}{n}",
    _UNIT + "sc(_bn)?": lambda s, u, bn: f"layer{s}.{u - 1}.downsample.{2 if bn else 1}",
})  # fmt: skip
_REGNET = {"sc": "proj", "se": "f.se", "conv1": "f.a", "conv2": "f.b", "conv3": "f.c"}
TORCH_REGNET = _by({
    "conv0(_bn)?": lambda bn: f"stem.{1 if bn else 0}", "fc1": "fc",
    _UNIT + r"(sc|se|conv\d)(?:_(bn|fc\d))?":
        lambda s, u, part, end: f"trunk_output.block{s}.block{s}-{u - 1}.{_REGNET[part]}."
        + {None: "0", "bn": "1"}.get(end, str(end)),
})  # fmt: skip
_PARTS = {"dw": "block.0", "ln": "block.2", "conv1": "block.3", "conv2": "block.5",
          "scale": "layer_scale"}  # fmt: skip
TORCH_CONVNEXT = _by({
    "conv0": "features.0.0", "ln0": "features.0.1", "ln1": "classifier.0", "fc1": "classifier.2",
    r"stage(\d)_(ln|conv)": lambda s, part: f"features.{2 * s - 2}.{int(part == 'conv')}",
    _UNIT + r"(\w+)": lambda s, u, part: f"features.{2 * s - 1}.{u - 1}.{_PARTS[part]}",
})  # fmt: skip
_TRANSFORMER = {"ln1": "norm1", "ln2": "norm2", "qkv": "attn.qkv", "proj": "attn.proj",
                "fc1": "mlp.fc1", "fc2": "mlp.fc2"}  # fmt: skip
TIMM_VIT = _by({
    "conv0": "patch_embed.proj", "class_token": "cls_token", "positions": "pos_embed",
    "ln0": "norm", "fc1": "head",
    r"block(\d+)_(\w+)": lambda n, part: f"blocks.{n - 1}.{_TRANSFORMER[part]}",
})  # fmt: skip
GLUON_RESNET = _by({
    "conv0": "features.0", "bn0": "features.1", "fc1": "output",
    _UNIT + r"conv(\d)": lambda s, u, n: f"features.{s + 3}.{u - 1}.body.{3 * n - 3}",
    _UNIT + r"bn(\d)": lambda s, u, n: f"features.{s + 3}.{u - 1}.body.{3 * n - 2}",
    _UNIT + "sc(_bn)?":
        lambda s, u, bn: f"features.{s + 3}.{u - 1}.downsample.{1 if bn else 0}",
})  # fmt: skip
_NORM = {"conv": "conv", "bn": "norm"}
TORCH_DENSENET = _by({
    "conv0": "features.conv0", "bn0": "features.norm0", "bn1": "features.norm5",
    "fc1": "classifier",
    _UNIT + r"(conv|bn)(\d)":
        lambda s, u, kind, n: f"features.denseblock{s}.denselayer{u}.{_NORM[kind]}{n}",
    r"transition(\d)_(conv|bn)": lambda t, kind: f"features.transition{t}.{_NORM[kind]}",
})  # fmt: skip
GLUON_DENSENET = _by({
    "conv0": "features.0", "bn0": "features.1", "bn1": "features.11", "fc1": "output",
    _UNIT + r"bn(\d)": lambda s, u, n: f"features.{2 * s + 2}.{u - 1}.1.{3 * n - 3}",
    _UNIT + r"conv(\d)": lambda s, u, n: f"features.{2 * s + 2}.{u - 1}.1.{3 * n - 1}",
    r"transition(\d)_(conv|bn)":
        lambda t, kind: f"features.{2 * t + 3}.{2 if kind == 'conv' else 0}",
})  # fmt: skip


def squeezenet(fires: Sequence[int], gluon: bool) -> Naming:
    """SqueezeNet in torchvision or Gluon; `fires`: positions of fire2 to fire9 in `features`."""
    ends = {"squeeze1x1": "squeeze", "expand1x1": "expand1x1", "expand3x3": "expand3x3"}
    if gluon:
        ends = {"squeeze1x1": "0.0", "expand1x1": "1.0.0", "expand3x3": "1.1.0"}
    return _by({
        "conv1": "features.0", "conv10": "output.0" if gluon else "classifier.1",
        r"fire(\d)_(\w+)": lambda n, part: f"features.{fires[n - 2]}.{ends[part]}",
    })  # fmt: skip


def vgg(library: str) -> Naming:
    """VGG with or without BatchNorm, in one of the three libraries."""

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


def inception_v3(names: Sequence[str]) -> List[str]:
    """Inception v3 in torchvision and timm."""
    stem = [f"Conv2d_{n}" for n in ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")]
    blocks = [f"Mixed_{n}" for n in "5b 5c 5d 6a 6b 6c 6d 6e 7a 7b 7c".split()]
    towers = [
        f"{block}.branch{tower}"
        for block, kind in zip(blocks, _BLOCKS)
        for tower in _TORCH_TOWERS[kind].split()
    ]
    return [*_each(stem + towers, "conv", "bn"), "fc"]


def gluon_inception_v3(names: Sequence[str]) -> List[str]:
    """Inception v3 in Gluon."""
    stem = [f"features.{n}" for n in (0, 1, 2, 4, 5)]
    towers = [
        f"features.{block}.{tower}"
        for block, kind in enumerate(_BLOCKS, start=7)
        for tower in _GLUON_TOWERS[kind].split()
    ]
    return [*_each(stem + towers, "0", "1"), "output"]


def googlenet(library: str) -> Naming:
    """GoogLeNet in torchvision or Gluon."""
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


TIMM_INCEPTION_RESNET = _by({
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


def gluon_mobilenet(names: Sequence[str]) -> List[str]:
    """MobileNet v1 in Gluon, of any width."""
    count = (len(names) - 1) // 2
    return [*(f"features.{3 * n + k}" for n in range(count) for k in (0, 1)), "output"]


def gluon_mobilenet_v2(names: Sequence[str]) -> List[str]:
    """MobileNet v2 in Gluon, of any width."""
    blocks = [f"features.{n}.out.{k}" for n in range(3, 20) for k in (0, 1, 3, 4, 6, 7)]
    return ["features.0", "features.1", *blocks, "features.20", "features.21", "output.0"]


_PART = r"block(\d+)(?:_unit(\d+))?_([a-z]+)(?:_(bn|fc\d))?"


def torch_blocks(dense: Mapping[str, str]) -> Naming:
    """MobileNet v3 and EfficientNet in torchvision, which numbers the parts of each block.

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


TIMM_EFFICIENTNET = _by({
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


ALEXNET = {
    TORCHVISION: _in_order(
        *(f"features.{n}" for n in (0, 3, 6, 8, 10)), *(f"classifier.{n}" for n in (1, 4, 6))
    ),
    GLUON: _in_order(*(f"features.{n}" for n in (0, 2, 4, 5, 6, 9, 11)), "output"),
}
FIRES = {"1.0": (3, 4, 5, 7, 8, 9, 10, 12), "1.1": (3, 4, 6, 7, 9, 10, 11, 12)}
