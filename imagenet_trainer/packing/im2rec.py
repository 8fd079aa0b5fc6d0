# PYTHON_ARGCOMPLETE_OK
"""The command that packs images: `python tools/im2rec.py`.

Slow modules are imported after the flags are parsed, so that --help returns at once.
"""

import imagenet_trainer.system.interruptible  # noqa: F401

# isort: split
import os
import re
import sys
from dataclasses import fields, replace
from typing import List, Optional, Sequence

from imagenet_trainer.config.flags import flag_of, is_set, parse
from imagenet_trainer.errors import InputError, run_command
from imagenet_trainer.packing.im2rec_flags import CheckSettings, Im2recSettings, PackCheckSettings
from imagenet_trainer.system.machine import silence_opencv

_NAME = "im2rec"
_SWITCH_VALUES = {"1": True, "true": True, "0": False, "false": False}
_DESCRIPTION = (
    "Pack images for training. `--list --recursive PREFIX ROOT` writes PREFIX.lst, then "
    "`PREFIX ROOT` packs it into PREFIX.rec, PREFIX.idx and the manifest PREFIX.json. Exit codes: "
    "0 done, 1 done and some images were rejected, 2 failed, 130 interrupted."
)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; the exit code is 0, 1 (some images rejected), 2 or 130."""
    arguments = _join_extensions(sys.argv[1:] if argv is None else argv)
    arguments = _without_switch_values(arguments)
    checks = {flag_of(field.name) for field in fields(CheckSettings)}
    given = {argument.partition("=")[0] for argument in arguments}
    if checks & given and not {"--help", "-h"}.intersection(arguments):
        check_settings = parse(PackCheckSettings, arguments, _NAME, _DESCRIPTION)
        return run_command(_NAME, lambda: _check(check_settings))
    settings = parse(Im2recSettings, arguments, _NAME, _DESCRIPTION)
    return run_command(_NAME, lambda: _list(settings) if settings.list else _pack(settings))


def _join_extensions(arguments: Sequence[str]) -> List[str]:
    """Join `--exts .jpg .png`, the form of MXNet's tool, into `--exts .jpg,.png`."""
    joined: List[str] = []
    for argument in arguments:
        if joined[-2:-1] == ["--exts"] and re.fullmatch(r"\.\w+", argument):
            joined[-1] += "," + argument
        else:
            joined.append(argument)
    return joined


def _without_switch_values(arguments: Sequence[str]) -> List[str]:
    """Omit the values of switches that older tools took: `--list=1`, `--list True`, `--list 0`."""
    switches = {flag_of(field.name) for field in fields(Im2recSettings) if field.default is False}
    kept: List[str] = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if not equals and kept[-1:] and kept[-1] in switches:
            flag, value = kept[-1], argument
        on = _SWITCH_VALUES.get(value.lower()) if flag in switches else None
        if on is None:
            kept.append(argument)
            continue
        if not equals:
            kept.pop()
        if on:
            kept.append(flag)
    return kept


def _refuse_urls(*paths: str) -> None:
    from imagenet_trainer.data.records.storage import refuse_url

    for path in paths:
        refuse_url(path, "pack and check on this machine, and upload the files of the pack")


def _check_paths(settings: Im2recSettings) -> None:
    _refuse_urls(settings.prefix, settings.root)
    if is_set(settings, "val_ratio") and not settings.by_name:
        raise InputError(
            f"--val-ratio {settings.val_ratio:g}: is for --by-name; add it, or give --train-ratio "
            "with --list"
        )


def _list(settings: Im2recSettings) -> int:
    _check_paths(settings)
    if settings.by_name:
        from imagenet_trainer.packing.im2rec_by_name import list_by_name

        return list_by_name(settings)
    from imagenet_trainer.packing.im2rec_list import write_lists

    return write_lists(settings)


def _pack(settings: Im2recSettings) -> int:
    silence_opencv()
    _check_paths(settings)
    from imagenet_trainer.packing.im2rec_pack import pack_lists

    if not settings.by_name:
        return pack_lists(settings)
    from imagenet_trainer.packing.im2rec_by_name import list_by_name

    code = list_by_name(settings, show_next=False)
    if settings.dry_run:
        return code  # there are no lists to pack
    val = os.path.join(os.path.dirname(settings.prefix), "val")
    packs = [replace(settings, prefix=prefix) for prefix in (settings.prefix, val)]
    return max(code, *[pack_lists(one) for one in packs])


def _check(settings: PackCheckSettings) -> int:
    silence_opencv()
    _refuse_urls(*settings.paths)
    from imagenet_trainer.packing.im2rec_checks import check

    return check(settings)
