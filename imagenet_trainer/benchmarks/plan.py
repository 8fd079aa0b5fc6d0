"""What a training on ImageNet takes: `doctor --plan NETWORK`.

Rates are published ones, and those that `doctor --measure` kept for this machine. A network without
a published rate gets that of ResNet-50, scaled by multiply-adds; `estimates` compares this rule
with all published rates of other networks.
"""

import csv
import io
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from imagenet_trainer import assets, symbols
from imagenet_trainer.config.measured import TrainingPlan
from imagenet_trainer.engines import speeds
from imagenet_trainer.errors import InputError, attributed_to
from imagenet_trainer.symbols.summary import Summary, summarise
from imagenet_trainer.system.files import read_bytes

IMAGES = 1_281_167  # of ImageNet's training set
_REFERENCE = "resnet-50"
_SCALING_OF = "V100"  # has published rates of 1, 4 and 8 devices
_MEASURED_BATCH = 16  # of doctor --measure
_TRAIN_TAR, _VAL_TAR = 138, 6.3  # GB, docs/data.md
_SHARD_256 = 28e3  # bytes of a photograph of the package after im2rec --resize 256, on average
_DECODED = 1650  # images a processor decodes in a second, docs/performance.md
_PRICE_COLUMNS = ("hardware", "devices", "instance", "usd_per_hour", "seen", "source")


@dataclass(frozen=True)
class Rate:
    """A published rate of training in images per second."""

    hardware: str
    devices: int
    network: str
    image: int
    precision: str
    images_per_second: float
    kind: str  # published, or derived from another published number
    source: str


class Price(NamedTuple):
    """A machine that can be rented."""

    devices: int
    instance: str
    usd_per_hour: float
    seen: str
    source: str


def published_rates() -> List[Rate]:
    """All rates that come with the package."""
    return [
        Rate(
            row["hardware"], int(row["devices"]), row["network"], int(row["image"]),
            row["precision"], float(row["images_per_second"]), row["kind"], row["source"],
        )
        for row in _rows(assets.path("training_speeds.csv"))
    ]  # fmt: skip


def read_prices(path: str = "") -> Dict[str, List[Price]]:
    """Prices by hardware, of a CSV file; by default those that come with the package.

    Raises InputError with the line for a file that is not such a table.
    """
    found: Dict[str, List[Price]] = {}
    known = {rate.hardware for rate in published_rates()}
    rows = _rows(Path(path or assets.path("prices.csv")))
    for row in rows:
        try:
            if None in row.values():
                raise ValueError  # it has too few columns
            hardware = row["hardware"]
            price = Price(
                int(row["devices"]), row["instance"], float(row["usd_per_hour"]), row["seen"],
                row["source"],
            )  # fmt: skip
            if price.devices < 1 or not 0 < price.usd_per_hour < math.inf:
                raise ValueError
        except (KeyError, ValueError):
            raise InputError(
                f"line {rows.line_num}: is not a price; the columns are {','.join(_PRICE_COLUMNS)}"
            ) from None
        if hardware not in known:
            raise InputError(
                f"line {rows.line_num}: hardware {hardware}: has no published rate; choose one of "
                f"{', '.join(sorted(known))}"
            )
        found.setdefault(hardware, []).append(price)
    if not found:
        raise InputError(f"has no prices; the columns are {','.join(_PRICE_COLUMNS)}")
    return found


def _rows(path: Path) -> "csv.DictReader[str]":
    text = read_bytes(path).decode("utf-8-sig", errors="replace")
    return csv.DictReader(io.StringIO(text))


def multiply_adds(network: str, side: int) -> int:
    """Of a network with 1,000 classes, for one image of side x side pixels."""
    return _summary(network, (3, side, side)).multiply_adds


@cache
def _summary(network: str, shape: Tuple[int, ...]) -> Summary:
    return summarise(symbols.get_symbol(network, 1000, shape), shape)


def estimates() -> Iterator[Tuple[Rate, float]]:
    """Published rates of other networks than ResNet-50, and what the rule gives instead."""
    rates = published_rates()
    reference = multiply_adds(_REFERENCE, 224)
    for rate in rates:
        if rate.network != _REFERENCE:
            base = _of_devices(rates, rate.hardware, rate.precision, rate.devices)
            if base:
                work = reference / multiply_adds(rate.network, rate.image)
                yield rate, base.images_per_second * work


def plans(
    network: str,
    shape: Tuple[int, ...],
    devices: int,
    epochs: int,
    prices: Dict[str, List[Price]],
) -> List[TrainingPlan]:
    """A plan for each hardware and precision with a published rate, then for this machine.

    `devices` is the number of GPUs; a CPU server counts as one device.
    """
    rates = published_rates()
    work = multiply_adds(_REFERENCE, 224) / _summary(network, shape).multiply_adds
    found = []
    for hardware, precision in dict.fromkeys((one.hardware, one.precision) for one in rates):
        count = devices if hardware != "CPU server" else 1
        exact = [
            one
            for one in rates
            if (one.hardware, one.precision, one.devices) == (hardware, precision, count)
            and (one.network, one.image, one.image) == (network, *shape[1:])
        ]
        base = _of_devices(rates, hardware, precision, count)
        estimated = not exact and (network != _REFERENCE or work != 1)
        if exact:
            rate, source = exact[0].images_per_second, exact[0].source
        elif base:
            rate, source = base.images_per_second * work, base.source
            source = f"estimated from ResNet-50: {source}" if estimated else source
        else:
            continue
        hours = epochs * IMAGES / rate / 3600
        title = hardware if hardware == "CPU server" else f"{count} x {hardware}"
        rented = _rent(prices.get(hardware, []), count)
        usd = rented[1] * hours if rented else None
        name = rented[0] if rented else ""
        found.append(TrainingPlan(
            title, precision, rate, source, hours, estimated, usd, name, 3600 * rate / IMAGES
        ))  # fmt: skip
    return found + _of_this_machine(network, shape, epochs)


def _of_devices(rates: Sequence[Rate], hardware: str, precision: str, count: int) -> Optional[Rate]:
    """ResNet-50's rate of this number of devices, scaled from another number if need be."""
    own = [r for r in rates if (r.hardware, r.precision, r.network)
           == (hardware, precision, _REFERENCE)]  # fmt: skip
    if not own:
        return None
    nearest = min(own, key=lambda one: abs(math.log(one.devices / count)))
    scale = _scaling(rates, count) / _scaling(rates, nearest.devices)
    source = nearest.source
    if nearest.devices != count:
        source = f"{source}, {nearest.devices} scaled to {count} as V100s scale"
    return Rate(
        hardware, count, _REFERENCE, nearest.image, precision, nearest.images_per_second * scale,
        nearest.kind, source,
    )  # fmt: skip


def _scaling(rates: Sequence[Rate], count: int) -> float:
    """How many times faster than one device this number is, as published for V100s."""
    kind = (_SCALING_OF, "float32", _REFERENCE)
    known = {r.devices: r.images_per_second for r in rates
             if (r.hardware, r.precision, r.network) == kind}  # fmt: skip
    efficiency = {number: rate / known[1] / number for number, rate in known.items()}
    nearest = min(efficiency, key=lambda number: (abs(math.log(number / count)), -number))
    return count * efficiency[nearest]


def _rent(prices: Sequence[Price], count: int) -> Optional[Tuple[str, float]]:
    """The fewest machines with so many devices, the cheapest of these; (names, USD an hour)."""
    offers = [(math.ceil(count / one.devices), one) for one in prices]
    if not offers:
        return None
    number, one = min(offers, key=lambda offer: (offer[0], offer[0] * offer[1].usd_per_hour))
    return f"{number} x {one.instance}" if number > 1 else one.instance, number * one.usd_per_hour


def _of_this_machine(network: str, shape: Tuple[int, ...], epochs: int) -> List[TrainingPlan]:
    found = speeds.measured(network, shape)
    if found is None:
        return []
    source = f"doctor --measure, {found.date}"
    rates = {kind: _MEASURED_BATCH * speed for kind, speed in found.updates_per_second.items()}
    return [
        TrainingPlan(
            "this machine", f"{dtype} ({engine})", rate, source, epochs * IMAGES / rate / 3600,
            False, None, "", 3600 * rate / IMAGES,
        )
        for (engine, dtype), rate in sorted(rates.items())
    ]  # fmt: skip


# --- the page ----------------------------------------------------------------------------------


def print_plan(
    network: str, shape: Optional[Tuple[int, ...]], devices: Sequence[int], epochs: int, prices: str
) -> List[TrainingPlan]:
    """Print what a training on ImageNet takes, for each number of GPUs; return the rows."""
    with attributed_to(f"--plan {network}"):
        found = symbols.find(network)
    shape = shape or found.image_shape
    with attributed_to(f"--prices {prices}"):
        table = read_prices(prices)
    summary = _summary(found.name, shape)
    print(
        f"{found.name}, {shape[2]} x {shape[1]} pixels, {summary.multiply_adds / 1e9:.2f} billion "
        f"multiply-adds; ImageNet, {IMAGES:,} images, {epochs} epochs\n"
    )
    rows = [row for count in devices for row in plans(found.name, shape, count, epochs, table)]
    listed = list(dict.fromkeys(rows))  # a CPU server has one for all numbers of GPUs
    sources = list(dict.fromkeys(plan.source for plan in listed))
    checked = [(rate, rate.images_per_second / estimate) for rate, estimate in estimates()]
    ratios = [ratio for _, ratio in checked]
    print("\n".join(_table(listed, sources, min(ratios), max(ratios))))
    print()
    for number, source in enumerate(sources, 1):
        print(f"[{number}] {source}")
    print(
        "\nEstimates scale ResNet-50's rate by multiply-adds. Published rates of other networks "
        f"are {min(ratios):.2f} to {max(ratios):.2f} times such an estimate, from which the range "
        "of the hours:"
    )
    for rate, ratio in checked:
        print(
            f"  {rate.network:14} {rate.devices} x {rate.hardware:5} "
            f"{rate.images_per_second:8,.0f} images/s, {ratio:.2f} times ({rate.source})"
        )
    print("\n".join(_remarks(summary, listed, table, epochs)))
    return listed


def _table(
    listed: Sequence[TrainingPlan], sources: Sequence[str], low: float, high: float
) -> Iterator[str]:
    """The rows; of an estimated rate the published one may be `low` to `high` times."""
    yield (
        f"{'hardware':13} {'precision':18} {'images/s':>9} {'epochs/h':>9} {'hours':>8} "
        f"{'range':^16} {'USD':>7}  {'machine':13} source"
    )
    for plan in listed:
        usd = "-" if plan.usd is None else f"{plan.usd:,.0f}"
        between = f"{plan.hours / high:,.1f} to {plan.hours / low:,.1f}" if plan.is_estimate else ""
        yield (
            f"{plan.hardware:13} {plan.precision:18} {plan.images_per_second:9,.0f} "
            f"{plan.epochs_per_hour:9.3g} {plan.hours:8,.1f} {between:^16} {usd:>7}  "
            f"{plan.instance or '-':13} [{sources.index(plan.source) + 1}]"
        )


def _remarks(
    summary: Summary, listed: Sequence[TrainingPlan], prices: Dict[str, List[Price]], epochs: int
) -> Iterator[str]:
    parameters = sum(layer.parameters for layer in summary.layers)
    checkpoint = 2 * 4 * parameters / 1e9  # with momentum, float32
    shards = IMAGES * _SHARD_256 / 1e9
    yield (
        f"\ndisk: {_TRAIN_TAR + _VAL_TAR:.0f} GB for the tars, about {shards:.0f} GB for shards "
        f"(--resize 256), {epochs * checkpoint:.1f} GB for {epochs} checkpoints (--keep 3: "
        f"{4 * checkpoint:.1f} GB)"
    )
    yield (
        f"memory: 16 GB; with {shards + 10:.0f} GB all shards stay in the page cache after the "
        "first epoch"
    )
    fastest = max(plan.images_per_second for plan in listed)
    yield (
        f"processors: {fastest / _DECODED:.0f} for the fastest row, 1 for each {_DECODED:,} "
        "images/s to decode (docs/performance.md)"
    )
    seen = sorted({one.seen for offers in prices.values() for one in offers})
    yield f"prices: of {seen[0]} to {seen[-1]}; replace them with --prices FILE (docs/doctor.md)"
