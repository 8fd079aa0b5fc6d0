"""Networks that tools/gpu_study.py compares with: torchvision's, or equal ones without it.

If torchvision is not installed, its ResNets (v1.5: the stride is in the 3 x 3 convolution) and
SqueezeNet 1.0 are built here, layer for layer; `test_gpu_study` compares parameter counts.
"""

import importlib.util
from typing import Tuple

import torch
from torch import Tensor, nn

_UNITS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
# SqueezeNet 1.0: (squeeze, expand) of each fire module, and those that a pooling follows.
_FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
_POOLED_AFTER = (2, 6)


def network(name: str, classes: int = 1000) -> Tuple[nn.Module, str]:
    """Return `resnet18`, `resnet50` or `squeezenet1_0`, and where it comes from."""
    if importlib.util.find_spec("torchvision"):
        import torchvision

        model = getattr(torchvision.models, name)(num_classes=classes)
        return model, f"torchvision {torchvision.__version__}"
    built = _SqueezeNet(classes) if name == "squeezenet1_0" else _ResNet(int(name[6:]), classes)
    return built, "a copy of torchvision's network (torchvision is not installed)"


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    pad = kernel // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, pad, bias=False), nn.BatchNorm2d(outputs)
    )


class _Unit(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        outputs = 4 * width if bottleneck else width
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        layers, channels = [], inputs
        for position, kernel in enumerate(kernels):
            width_out = outputs if position == len(kernels) - 1 else width
            strided = stride if position == (1 if bottleneck else 0) else 1
            layers += [_convolution(channels, width_out, kernel, strided), nn.ReLU(inplace=True)]
            channels = width_out
        self.body = nn.Sequential(*layers[:-1])
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else _convolution(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class _ResNet(nn.Sequential):
    def __init__(self, depth: int, classes: int) -> None:
        bottleneck, channels = depth >= 50, 64
        layers = [_convolution(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
        for stage, units in enumerate(_UNITS[depth]):
            width = 64 << stage
            for unit in range(units):
                stride = 2 if stage and not unit else 1
                layers.append(_Unit(channels, width, stride, bottleneck))
                channels = 4 * width if bottleneck else width
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
        super().__init__(*layers)


class _Fire(nn.Module):
    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.left, self.right = nn.Conv2d(squeeze, expand, 1), nn.Conv2d(squeeze, expand, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.squeeze(x))
        return torch.relu(torch.cat([self.left(x), self.right(x)], 1))


class _SqueezeNet(nn.Sequential):
    def __init__(self, classes: int) -> None:
        layers = [nn.Conv2d(3, 96, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)]
        channels = 96
        for position, (squeeze, expand) in enumerate(_FIRES):
            layers.append(_Fire(channels, squeeze, expand))
            channels = 2 * expand
            if position in _POOLED_AFTER:
                layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
        layers += [nn.Dropout(), nn.Conv2d(512, classes, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
        super().__init__(*layers, nn.Flatten())
