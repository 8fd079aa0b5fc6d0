"""What `tools/im2rec.py` does with packs that are there: --verify, --repair, --rebuild-index.

Numbers and OpenCV are imported where they are used, so that --help answers at once.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Dict, List, Optional, Sequence, Tuple

from imagenet_trainer.config.flags import option
from imagenet_trainer.config.values import integer
from imagenet_trainer.data.records.manifest import manifest_path
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.console import MOST_LINES, Progress, images_told, printable
from imagenet_trainer.system.files import atomic_write
from imagenet_trainer.system.machine import processors, silence_opencv

if TYPE_CHECKING:
    from imagenet_trainer.packing.duplicates import Place

COMMAND = "python tools/im2rec.py"


@dataclass(frozen=True)
class CheckSettings:
    """Flags that need no ROOT."""

    verify: bool = option(
        False, "prove the pack PREFIX, and others named behind it: read every record, compare the "
        "manifest",
    )  # fmt: skip
    repair: bool = option(
        False, "verify, and build damaged shards again from the images in ROOT, by default those "
        "that were packed",
    )  # fmt: skip
    rebuild_index: bool = option(False, "write the .idx of the shard PREFIX anew")
    duplicates: bool = option(
        False, "tell which images are packed more than once in PREFIX and other prefixes; also "
        "in PREFIX.duplicates.json",
    )  # fmt: skip
    near_duplicates: Optional[int] = option(
        None, "the same, and images that look alike: whose difference hashes differ in at most N "
        "of 64 bits, as 2", integer(0, 16),
    )  # fmt: skip


@dataclass(frozen=True)
class PacksSettings(CheckSettings):
    """A command line with one of these flags."""

    paths: Tuple[str, ...] = option((), "PREFIX", positional="many", metavar="PREFIX")
    num_thread: int = option(0, "threads; 0: one a processor", integer(0, 256))


def check(settings: PacksSettings) -> int:
    """Do what the flags say; the exit code."""
    silence_opencv()
    packs = settings.paths[:1] if settings.repair else _packs(settings.paths)
    if settings.rebuild_index:
        for name in packs:
            _rebuild_index(name)
    if settings.verify or settings.repair:
        _verify(settings, packs)
    if settings.duplicates or settings.near_duplicates is not None:
        return _find_duplicates(settings)
    return 0


def _packs(paths: Sequence[str]) -> List[str]:
    """PREFIX and further ones; a ROOT among them, left from the packing's command line, is none."""
    first, *others = paths
    images = [os.path.isdir(one) or one.lower().endswith(".tar") for one in others]
    return [first, *(one for one, is_root in zip(others, images) if not is_root)]


def _rebuild_index(name: str) -> None:
    from imagenet_trainer.data.records.recordio import index_path, rebuild_index
    from imagenet_trainer.packing.verify import shards_of

    for rec in shards_of(name, "--rebuild-index"):
        if not os.path.isfile(rec):
            raise InputError(f"{rec}: no such shard; run: {COMMAND} --repair {name}")
        print(f"{index_path(rec)}: {rebuild_index(rec):,} records")


def _verify(settings: PacksSettings, packs: Sequence[str]) -> None:
    from imagenet_trainer.packing.verify import shards_of, verify

    root = _moved_images(settings.paths) if settings.repair else ""
    flag = "--repair" if settings.repair else "--verify"
    shards_by_pack = {name: shards_of(name, flag) for name in packs}
    threads = settings.num_thread or processors()
    ruined = []
    for name, shards in shards_by_pack.items():
        told = shards[0] if len(shards) == 1 else f"{name}: {len(shards)} shards"
        known = os.path.exists(manifest_path(shards[0]))
        with Progress(name, "damaged") as progress:
            damage = verify(shards, threads, progress)
        _tell(damage)
        if not damage:
            print(f"{told}: whole" + ("" if known else "; it has no manifest to be compared with"))
        elif settings.repair:
            _repair(root, list(damage), threads)
        else:
            ruined.append(_not_whole(name, told, damage, known))
    if ruined:
        raise InputError("; ".join(ruined))


def _moved_images(paths: Sequence[str]) -> str:
    """ROOT of `--repair PREFIX ROOT`; "" where it is not given."""
    if len(paths) > 2:
        raise InputError(f"--repair {' '.join(paths)}: takes one PREFIX, and ROOT if it has moved")
    root = paths[1] if len(paths) > 1 else ""
    if root and not os.path.exists(root):
        raise InputError(f"root {root}: no such folder or tar; --repair takes one PREFIX at a time")
    return root


def _not_whole(name: str, told: str, damage: Dict[str, List[str]], known: bool) -> str:
    lines = sum(map(len, damage.values()))
    which = next(iter(damage)) if len(damage) == 1 else f"{len(damage)} of {told}"
    way_out = f"to build it again from the images run: {COMMAND} --repair {name}"
    return f"{which}: not whole, see above ({lines:,} in all); " + (
        way_out if known else "copy it again, or pack it again"
    )


def _tell(damage: Dict[str, List[str]]) -> None:
    lines = [line for lines in damage.values() for line in lines]
    for line in lines[:MOST_LINES]:
        print(line, file=sys.stderr)
    if len(lines) > MOST_LINES:
        print(f"... and {len(lines) - MOST_LINES:,} more", file=sys.stderr)


def _repair(root: str, shards: List[str], threads: int) -> None:
    from imagenet_trainer.data.records.recordio import RecordFile
    from imagenet_trainer.packing.repair import open_pack, repair

    prefix = os.path.splitext(manifest_path(shards[0]))[0]
    pack = open_pack(prefix, root)
    for shard in shards:
        with Progress(shard) as progress:
            repair(pack, shard, threads, progress)
        with RecordFile(shard) as file:
            print(f"{shard}: repaired, {images_told(len(file))}")


# --- duplicates --------------------------------------------------------------------------------


def _find_duplicates(settings: PacksSettings) -> int:
    from imagenet_trainer.packing.duplicates import find_duplicates
    from imagenet_trainer.packing.verify import shards_of

    prefixes = [os.path.splitext(name)[0] if name.endswith(".rec") else name
                for name in settings.paths]  # fmt: skip
    sets = {name: shards_of(name, "--duplicates") for name in prefixes}
    with Progress("duplicates") as progress:
        threads = settings.num_thread or processors()
        found = find_duplicates(sets, settings.near_duplicates, threads, progress)
    names = {name: _names(name) for name in prefixes}
    report = prefixes[0] + ".duplicates.json"
    with atomic_write(report, "w") as file:
        kinds = {"same_bytes": found.same_bytes, "look_alike": found.look_alike}
        told = {kind: [[_entry(one, names) for one in group] for group in groups]
                for kind, groups in kinds.items()}  # fmt: skip
        json.dump(
            {"sets": sets, "near_duplicates": settings.near_duplicates, **told}, file, indent=1
        )
        file.write("\n")
    _tell_groups("same bytes", found.same_bytes, names)
    if settings.near_duplicates is not None:
        _tell_groups("look alike", found.look_alike, names)
    print(f"{report}: all of them")
    return 1 if found.same_bytes or found.look_alike else 0


def _names(prefix: str) -> Dict[int, str]:
    """Paths of images by their index, where the list is there."""
    from imagenet_trainer.data.records.lst import read_list

    if not os.path.exists(prefix + ".lst"):
        return {}
    images = read_list(prefix + ".lst")
    return dict(zip(images.indices, images.paths))


def _entry(place: "Place", names: Dict[str, Dict[int, str]]) -> Dict:
    return {**asdict(place), "path": names[place.set].get(place.id)}


def _tell_groups(
    kind: str, groups: Sequence[Sequence["Place"]], names: Dict[str, Dict[int, str]]
) -> None:
    for group in groups[:MOST_LINES]:
        places = [
            f"{one.set}: {printable(names[one.set].get(one.id, f'index {one.id}'))}"
            for one in group
        ]
        labels = sorted({one.label for one in group})
        remark = f" (labels {', '.join(f'{v:g}' for v in labels)})" if len(labels) > 1 else ""
        print(f"{kind}{remark}: " + " = ".join(places))
    count = f"{len(groups):,} group{'' if len(groups) == 1 else 's'}"
    between = sum(len({one.set for one in group}) > 1 for group in groups)
    labelled = sum(len({one.label for one in group}) > 1 for group in groups)
    print(
        f"{kind}: {count} of {images_told(sum(map(len, groups)))}, {between:,} of them in "
        f"several sets, {labelled:,} with different labels"
    )
