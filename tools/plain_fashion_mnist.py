#!/usr/bin/env python3
"""The training of the recipe fashion-mnist-fast as a plain PyTorch loop, for comparison.

It uses nothing of this project: its own network, reader, augmentation, order and loop, and
torch.optim.SGD. Network, schedule, augmentation and batch size are those of the recipe; the random
numbers are others, so results agree in distribution and not bit for bit.

    python tools/plain_fashion_mnist.py /usr/share/datasets/fashion-mnist --seeds 0,1,2
"""

import argparse
import gzip
import statistics
import time
from pathlib import Path
from typing import Iterator, Tuple

import numpy as np
import torch
from torch import nn

MEAN, STD = 72.94, 90.02  # of the training images, of 255


def read(folder: Path, name: str) -> Tuple[torch.Tensor, torch.Tensor]:
    """The images of a set, uint8 (images, 28, 28), and their labels, int64 (images,)."""

    def values(kind: str, header: int) -> np.ndarray:
        path = folder / f"{name}-{kind}-ubyte"
        packed = Path(f"{path}.gz")
        data = gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
        return np.frombuffer(data, np.uint8)[header:].copy()

    images = values("images-idx3", 16).reshape(-1, 28, 28)
    return torch.from_numpy(images), torch.from_numpy(values("labels-idx1", 8).astype(np.int64))


class Network(nn.Module):
    """Six convolutions with BatchNorm without scale and relu, max pooling, a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 128, 128, 256, 256)
        layers = []
        for number, (before, after) in enumerate(zip(widths, widths[1:])):
            kernel = 3 if number else 4
            convolution = nn.Conv2d(before, after, kernel, 2 - number % 2, 1, bias=False)
            norm = nn.BatchNorm2d(after)
            norm.weight.requires_grad_(False)
            layers += [convolution, norm, nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(widths[-1], 10, bias=False)
        for one in self.modules():
            if isinstance(one, (nn.Conv2d, nn.Linear)):
                nn.init.normal_(one.weight, 0, (2 / one.weight[0].numel()) ** 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, 10) of normalised images (batch, 3, 28, 28)."""
        return self.classifier(self.features(x).amax((2, 3))) / 4


def network_input(images: torch.Tensor) -> torch.Tensor:
    """Float32 (batch, 3, h, w) of bytes (batch, h, w)."""
    x = (images.float() - MEAN) / STD
    return x[:, None].expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def augmented(images: torch.Tensor, pad: int = 2) -> torch.Tensor:
    """Each image mirrored or not, and moved by up to `pad` pixels; black comes in."""
    count, side = images.shape[:2]
    padded = nn.functional.pad(images, (pad,) * 4)
    rows = torch.randint(2 * pad + 1, (count, 1)) + torch.arange(side)
    columns = torch.randint(2 * pad + 1, (count, 1)) + torch.arange(side)
    mirrored = torch.rand(count, 1) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    return padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def batches(images: int, epochs: int, batch: int) -> Iterator[torch.Tensor]:
    """Numbers of the images of each update; the rest of an epoch opens the next one."""
    order = torch.cat([torch.randperm(images) for _ in range(epochs)])
    yield from order[: len(order) // batch * batch].split(batch)


def rate(update: int, updates: int, arguments: argparse.Namespace) -> float:
    """The triangle: from a 25th of the rate to the rate, and to zero."""
    peak = round(updates * arguments.peak_epoch / arguments.epochs)
    if update < peak:
        return arguments.lr * (1 / 25 + (1 - 1 / 25) * update / peak)
    return arguments.lr * (updates - update) / (updates - peak)


def train(seed: int, arguments: argparse.Namespace) -> float:
    """Train with a seed; the share of right test images after the last epoch."""
    torch.manual_seed(seed)
    images, labels = read(arguments.folder, "train")
    images, labels = images[: arguments.images], labels[: arguments.images]
    network = Network().to(memory_format=torch.channels_last)
    weights = [one for one in network.parameters() if one.ndim > 1]
    others = [one for one in network.parameters() if one.ndim == 1 and one.requires_grad]
    groups = [{"params": weights, "weight_decay": arguments.wd}, {"params": others}]
    optimizer = torch.optim.SGD(groups, arguments.lr, momentum=0.9, nesterov=True)
    loss_of = nn.CrossEntropyLoss(label_smoothing=arguments.label_smoothing)
    updates = len(images) * arguments.epochs // arguments.batch_size
    numbers = batches(len(images), arguments.epochs, arguments.batch_size)
    for update, chosen in enumerate(numbers):
        for group in optimizer.param_groups:
            group["lr"] = rate(update, updates, arguments)
        x = network_input(augmented(images[chosen]))
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(x)
        loss = loss_of(logits.float(), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return score(network, arguments.folder)


@torch.no_grad()
def score(network: nn.Module, folder: Path) -> float:
    """The share of the test images that are classified correctly."""
    network.eval()
    images, labels = read(folder, "t10k")
    with torch.autocast("cpu", torch.bfloat16):
        parts = [network(network_input(part)).argmax(1) for part in images.split(500)]
    return float((torch.cat(parts) == labels).float().mean())


def main() -> None:
    """Train with each seed and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder with the four idx files")
    parser.add_argument("--seeds", default="0", help="such as 0,1,2 (default: 0)")
    for name, default in (("epochs", 6), ("batch-size", 128), ("images", 60000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, number in (("lr", 0.1), ("peak-epoch", 1), ("wd", 5e-4), ("label-smoothing", 0.1)):
        parser.add_argument(f"--{name}", type=float, default=number)
    arguments = parser.parse_args()
    scores = []
    for seed in map(int, arguments.seeds.split(",")):
        began = time.process_time()
        scores.append(train(seed, arguments))
        minutes = (time.process_time() - began) / 60
        print(f"seed {seed}: {100 * scores[-1]:.2f} %, {minutes:.1f} minutes of a processor")
    if len(scores) > 1:
        mean, deviation = statistics.fmean(scores), statistics.stdev(scores)
        print(f"mean {100 * mean:.2f} %, deviation {100 * deviation:.2f}")


if __name__ == "__main__":
    main()
