"""`tools/im2rec.py` on existing packs: --verify, --repair, --duplicates, --unpack and others."""

import glob
import os
import sys
from dataclasses import asdict, fields
from typing import Dict, List, Sequence

from imagenet_trainer.config import commands
from imagenet_trainer.config.flags import flag_of, is_set
from imagenet_trainer.data.records.lst import paths_by_key
from imagenet_trainer.data.records.manifest import manifest_path
from imagenet_trainer.data.records.record_file import index_path
from imagenet_trainer.data.records.sequential import rebuild_index
from imagenet_trainer.errors import InputError, attributed_to
from imagenet_trainer.packing.console import (
    MOST_LINES,
    ProgressDisplay,
    format_images,
    format_shards,
)
from imagenet_trainer.packing.duplicates import PackedImage, find_duplicates
from imagenet_trainer.packing.im2rec_flags import PackCheckSettings
from imagenet_trainer.packing.origin import written_by
from imagenet_trainer.packing.relabel import apply_reviews
from imagenet_trainer.packing.repair import open_pack, repair
from imagenet_trainer.packing.unpack import unpack
from imagenet_trainer.packing.verify import Verified, shards_of, verify
from imagenet_trainer.system.files import write_json
from imagenet_trainer.system.machine import processors
from imagenet_trainer.text import printable

# Flags that only change what others do, and flags that go with none but those named here.
_BELONGS_TO = {
    "to": {"unpack"}, "label_index": {"unpack"}, "output": {"duplicates", "near_duplicates"},
}  # fmt: skip
_ALONE = {"unpack": {"to", "label_index"}, "drop": {"relabel"}, "relabel": {"drop"}}


def check(settings: PackCheckSettings) -> int:
    """Run the checks that the flags select; the exit code."""
    _check_flags(settings)
    if settings.unpack:
        return _unpack(settings)
    if settings.drop or settings.relabel:
        return _apply_reviews(settings)
    packs = settings.paths[:1] if settings.repair else _packs(settings.paths)
    if settings.rebuild_index:
        for name in packs:
            _rebuild_index(name)
    if settings.verify or settings.repair:
        _verify(settings, packs)
    if settings.duplicates or settings.near_duplicates is not None:
        return _find_duplicates(settings, packs)
    return 0


def _check_flags(settings: PackCheckSettings) -> None:
    given = {one.name for one in fields(settings) if is_set(settings, one.name)}
    given -= {"paths", "num_thread"}
    for name, owners in _BELONGS_TO.items():
        if name in given and not given & owners:
            owner = flag_of(min(owners))
            raise InputError(f"{flag_of(name)}: is for {owner}; add it, or omit this flag")
    for name, own in _ALONE.items():
        others = given - own - {name}
        if name in given and others:
            raise InputError(f"{flag_of(name)} {flag_of(min(others))}: run one after the other")


def _packs(paths: Sequence[str]) -> List[str]:
    """The prefixes among the arguments; a ROOT left over from the packing command is omitted."""
    first, *others = paths
    return [first, *(one for one in others if not _is_root(one))]


def _is_root(path: str) -> bool:
    """Whether a path is a folder or a tar, and not the prefix of a pack beside it too."""
    shards = glob.glob(f"{glob.escape(path)}.rec") + glob.glob(f"{glob.escape(path)}-*-of-*.rec")
    return not shards and (os.path.isdir(path) or path.lower().endswith(".tar"))


def _unpack(settings: PackCheckSettings) -> int:
    if len(settings.paths) != 2:
        raise InputError(f"--unpack {' '.join(settings.paths)}: takes PREFIX and a folder")
    prefix, folder = _prefix(settings.paths[0]), settings.paths[1]
    with attributed_to("--unpack", " "), ProgressDisplay(prefix) as progress:
        done = unpack(
            f"{prefix}.rec", f"{prefix}.lst", folder, settings.num_thread or processors(), progress,
            settings.label_index, settings.to,
        )  # fmt: skip
    kept = f"; {done.kept:,} were there already" if done.kept else ""
    print(f"{folder}: {format_images(done.written)} from {prefix}{kept}")
    return 0


def _apply_reviews(settings: PackCheckSettings) -> int:
    flag = "--relabel" if settings.relabel else "--drop"
    if len(settings.paths) != 2:
        raise InputError(f"{flag} {' '.join(settings.paths)}: takes PREFIX and a new prefix")
    prefix, new = map(_prefix, settings.paths)
    with attributed_to(flag, " "), ProgressDisplay(new) as progress:
        done = apply_reviews(prefix, new, settings.drop, settings.relabel, progress)
    dropped = int((~done.kept).sum())
    rows = done.unreviewed
    left = f"; {rows:,} rows without a verdict changed nothing" if rows else ""
    print(
        f"{new}: {format_images(int(done.kept.sum()))} of {prefix}: {done.relabelled:,} with "
        f"another class, {dropped:,} left out{left}"
    )
    return 0


def _prefix(name: str) -> str:
    """The prefix of a pack, which may be given as PREFIX.rec."""
    return name[: -len(".rec")] if name.endswith(".rec") else name


def _shards_of(name: str, flag: str) -> List[str]:
    with attributed_to(flag, " "):
        return shards_of(name)


def _rebuild_index(name: str) -> None:
    for rec in _shards_of(name, "--rebuild-index"):
        if not os.path.isfile(rec):
            raise InputError(f"{rec}: no such shard; run: {commands.PACK} --repair {name}")
        print(f"{index_path(rec)}: {rebuild_index(rec):,} records")


def _verify(settings: PackCheckSettings, packs: Sequence[str]) -> None:
    root = _root_of_repair(settings.paths) if settings.repair else ""
    flag = "--repair" if settings.repair else "--verify"
    shards_by_pack = {name: _shards_of(name, flag) for name in packs}
    threads = settings.num_thread or processors()
    errors = []
    for name, shards in shards_by_pack.items():
        title = shards[0] if len(shards) == 1 else f"{name}: {format_shards(len(shards))}"
        has_manifest = os.path.exists(manifest_path(shards[0]))
        with ProgressDisplay(name, "damaged") as progress:
            found = verify(shards, threads, progress)
        damage = found.damage
        _print_damage(damage)
        if not damage:
            print(f"{title}: {'intact' if has_manifest else _foreign(shards, found)}")
        elif settings.repair:
            _repair(root, list(damage), threads)
        else:
            errors.append(_damage_error(name, title, damage, has_manifest))
    if errors:
        raise InputError("; ".join(errors))


def _foreign(shards: Sequence[str], found: Verified) -> str:
    """What is known of undamaged shards without a manifest."""
    remarks = [f"whole, written by {written_by(shards)}; there is no manifest to compare"]
    if found.without_image:
        remarks.append(f"{found.without_image:,} records have no image and are left out")
    if found.other_ids:
        remarks.append(f"{found.other_ids:,} records have other ids than the index")
    return "; ".join(remarks)


def _root_of_repair(paths: Sequence[str]) -> str:
    """ROOT of `--repair PREFIX ROOT`; "" if it is omitted."""
    if len(paths) > 2:
        raise InputError(
            f"--repair {' '.join(paths)}: takes one PREFIX, and ROOT if the images have moved"
        )
    root = paths[1] if len(paths) > 1 else ""
    if root and not os.path.exists(root):
        raise InputError(f"root {root}: no such folder or tar; --repair takes one PREFIX at a time")
    return root


def _damage_error(name: str, title: str, damage: Dict[str, List[str]], has_manifest: bool) -> str:
    lines = sum(map(len, damage.values()))
    which = next(iter(damage)) if len(damage) == 1 else f"{len(damage)} of {title}"
    rebuild = f"to rebuild it from the images run: {commands.PACK} --repair {name}"
    advice = rebuild if has_manifest else "copy it again, or pack it again"
    return f"{which}: damaged, see above ({lines:,} in all); {advice}"


def _print_damage(damage: Dict[str, List[str]]) -> None:
    lines = [line for lines in damage.values() for line in lines]
    for line in lines[:MOST_LINES]:
        print(printable(line), file=sys.stderr)
    if len(lines) > MOST_LINES:
        print(f"... and {len(lines) - MOST_LINES:,} more", file=sys.stderr)


def _repair(root: str, shards: List[str], threads: int) -> None:
    prefix = os.path.splitext(manifest_path(shards[0]))[0]
    pack = open_pack(prefix, root)
    for shard in shards:
        with ProgressDisplay(shard) as progress:
            images = repair(pack, shard, threads, progress)
        print(f"{shard}: repaired, {format_images(images)}")


# --- duplicates --------------------------------------------------------------------------------


def _find_duplicates(settings: PackCheckSettings, packs: Sequence[str]) -> int:
    prefixes = [*map(_prefix, packs)]
    sets = {name: _shards_of(name, "--duplicates") for name in prefixes}
    with ProgressDisplay("duplicates") as progress:
        threads = settings.num_thread or processors()
        duplicates = find_duplicates(sets, settings.near_duplicates, threads, progress)
    paths = {name: paths_by_key(f"{name}.lst") for name in prefixes}
    _print_groups("same bytes", duplicates.same_bytes, paths)
    if settings.near_duplicates is not None:
        _print_groups("similar", duplicates.similar, paths)
    report = settings.output or prefixes[0] + ".duplicates.json"
    if not settings.output and not os.access(os.path.dirname(report) or ".", os.W_OK):
        raise InputError(
            f"{report}: cannot be written; give a file for the complete list with --output"
        )
    kinds = {"same_bytes": duplicates.same_bytes, "look_alike": duplicates.similar}
    groups = {kind: [[_entry(image, paths) for image in group] for group in of_kind]
              for kind, of_kind in kinds.items()}  # fmt: skip
    write_json(report, {"sets": sets, "near_duplicates": settings.near_duplicates, **groups})
    print(f"{report}: complete list")
    return 1 if duplicates.same_bytes or duplicates.similar else 0


def _entry(image: PackedImage, paths: Dict[str, Dict[int, str]]) -> Dict:
    return {**asdict(image), "path": paths[image.set].get(image.id)}


def _print_groups(
    kind: str, groups: Sequence[Sequence[PackedImage]], paths: Dict[str, Dict[int, str]]
) -> None:
    for group in groups[:MOST_LINES]:
        names = [
            f"{one.set}: {printable(paths[one.set].get(one.id, f'index {one.id}'))}"
            for one in group
        ]
        labels = sorted({one.label for one in group})
        remark = f" (labels {', '.join(f'{v:g}' for v in labels)})" if len(labels) > 1 else ""
        print(f"{kind}{remark}: " + " = ".join(names))
    count = f"{len(groups):,} group{'' if len(groups) == 1 else 's'}"
    between = sum(len({one.set for one in group}) > 1 for group in groups)
    labelled = sum(len({one.label for one in group}) > 1 for group in groups)
    print(
        f"{kind}: {count} of {format_images(sum(map(len, groups)))}, {between:,} of them across "
        f"sets, {labelled:,} with different labels"
    )
