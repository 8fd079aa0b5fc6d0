#!/usr/bin/env python3
"""Re-run the commands that docs/ shows with their output: `python tools/docs_output.py [--check]`.

A fenced block that follows a line `<!-- output: SETTING -->` is a transcript: lines that begin with
`$ ` are commands, what follows each is its output. The commands of a page run in order, in a
folder prepared for SETTING:

    plain       empty, but for tools/
    images      images/ and validation/, the photographs of the package in folders by class,
                imagenet_trainer/, and an empty docs/pictures/
    imagenet    downloads/, a miniature of the files of ImageNet
    train       empty, but for tools/, and its commands take minutes
    tutorial    empty, but for tools/ and tests/, one for each page; one thread
    demo        what tools/demo.sh leaves in demo/, which takes minutes

Without --check, outputs that are no longer true are replaced in the pages, and pictures that the
commands drew in docs/pictures/. Times, speeds and dates do not count as differences. A line `...`
stands for lines that the page leaves out.
"""

import argparse
import difflib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ("plain", "images", "imagenet", "train", "tutorial", "demo")
BLOCK = re.compile(
    r"^(?P<indent> *)<!-- output: (?P<setting>\w+) -->\n+ *```\w*\n(?P<text>.*?)\n *```$",
    re.MULTILINE | re.DOTALL,
)
# What differs from run to run or between machines; the shown value stays as it is.
VOLATILE = re.compile(
    r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d:\d\d([,.]\d+)?(\+\d{4})?)?"  # dates and time stamps
    r'|"(images_per_second|wait_share|cpu_percent|memory_mb|seconds(_left)?)": [\d.e-]+'
    r"|\b\d+:\d\d(:\d\d)?\b"  # durations
    r"|\d[\d,.]*\s?(?:ms|s|min|h|images/s|samples/sec|MB/s|ips)\b"
    r"|(?<=cost=)[\d.]+|(?<=data-wait=)[\d.]+|(?<=left=)\S+"
    r"|\b\d+ % (?:waiting|of the time)"
)

# What the commands of a setting draw, and the picture of docs/pictures/ that it replaces.
PICTURES = {
    "plain": {"docs/pictures/schedule.png": "schedule.png"},
    "images": {
        "docs/pictures/augmented.png": "augmented.png",
        "docs/pictures/policies.png": "policies.png",
        "explored/sizes.png": "explore-sizes.png",
    },
    "demo": {
        "explored-demo/colours.png": "explore-colours.png",
        "more/learning-curve.svg": "compare-fractions.svg",
        "demo/runs/find-lr/lr-range.png": "lr-range.png",
        "demo/runs/resnet-20/curves.png": "curves.png",
        "demo/runs/resnet-20/confusion.cluster.gif": "demo.gif",
        "demo/runs/resnet-20/confusion-0010.top1-shares-log-cividis.figure.png": (
            "confusion-demo-shares.png"
        ),
        "demo/runs/resnet-20/comparison-0007-0010.figure.png": "confusion-demo-difference.png",
    },
}


@dataclass
class Command:
    """A command of a transcript and its expected output lines."""

    command: str
    shown: List[str] = field(default_factory=list)
    head: List[str] = field(default_factory=list)  # the command as it stands in the page


@dataclass
class Block:
    """A transcript of a page."""

    setting: str
    start: int  # of its text, in characters from the start of the page
    end: int
    indent: str
    steps: List[Command]


def steps_of(text: str) -> List[Command]:
    """The commands of a transcript; a backslash at the end continues a command."""
    steps: List[Command] = []
    continued = False
    for line in text.split("\n"):
        if line.startswith("$ ") or continued:
            if not continued:
                steps.append(Command(""))
            steps[-1].head.append(line)
            words = line[2:] if not continued else line.strip()
            continued = words.endswith("\\")
            steps[-1].command += words.rstrip("\\").rstrip() + " " * continued
        elif steps:
            steps[-1].shown.append(line)
        else:
            raise ValueError(f"{line!r}: stands in front of the first command")
    return steps


def blocks_of(page: str) -> Iterator[Block]:
    """The transcripts of a page; ValueError for a setting that does not exist."""
    for match in BLOCK.finditer(page):
        if match["setting"] not in SETTINGS:
            raise ValueError(f"output: {match['setting']}: choose one of {', '.join(SETTINGS)}")
        indent = match["indent"]
        lines = [line[len(indent) :] for line in match["text"].split("\n")]
        steps = steps_of("\n".join(lines))
        yield Block(match["setting"], *match.span("text"), indent, steps)


def execute(command: str, folder: Path, threads: int = 2) -> List[str]:
    """The lines that a command prints, standard error included.

    The results of a training depend on the number of OpenMP threads.
    """
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "100",
        "OMP_NUM_THREADS": str(threads),
    }
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, text=True, check=False,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.stdout.rstrip("\n").split("\n") if done.stdout.strip() else []


def constant(line: str) -> str:
    """A line without what differs from run to run."""
    return re.sub(r"\s+", " ", VOLATILE.sub("#", line)).strip()


def parts_of(shown: Sequence[str]) -> List[List[str]]:
    """The lines between the lines `...`, which stand for any lines."""
    parts: List[List[str]] = [[]]
    for line in filter(None, shown):
        if line == "...":
            parts.append([])
        else:
            parts[-1].append(constant(line))
    return parts


def is_true(shown: Sequence[str], printed: Sequence[str]) -> bool:
    """Whether a page shows what a command prints, from the first line to the last."""
    lines = [constant(line) for line in printed if line]
    first, *others = parts_of(shown)
    if not others:
        return lines == first
    if lines[: len(first)] != first:
        return False
    position = len(first)
    for part in others[:-1]:
        while position <= len(lines) and lines[position : position + len(part)] != part:
            position += 1
        position += len(part)
    last = others[-1]
    return position + len(last) <= len(lines) and lines[len(lines) - len(last) :] == last


def updated(shown: Sequence[str], printed: Sequence[str]) -> List[str]:
    """What a page is to show: all lines, or with `...` those that are nearest to what it shows."""
    lines = [line for line in shown if line]
    blank = [""] * (len(shown) - len("\n".join(shown).rstrip("\n").split("\n")))
    if "..." not in lines:
        return [*printed, *blank]
    found, position = [], 0
    for line in lines:
        rest = [constant(one) for one in printed[position:]]
        near = difflib.get_close_matches(constant(line), rest, 1, 0.5)
        if line == "...":
            found.append(line)
        elif near:
            position += rest.index(near[0]) + 1
            found.append(printed[position - 1])
    return [*found, *blank]


def prepare(setting: str, folder: Path) -> None:
    """Make what the commands of a setting find in their folder."""
    if setting == "demo":
        _run_demo(folder)
        return
    (folder / "tools").symlink_to(ROOT / "tools")
    if setting == "tutorial":
        (folder / "tests").symlink_to(ROOT / "tests")
    if setting == "images":
        (folder / "imagenet_trainer").symlink_to(ROOT / "imagenet_trainer")
        (folder / "docs" / "pictures").mkdir(parents=True)
        photographs = sorted((ROOT / "imagenet_trainer" / "assets" / "photos").glob("*/*.jpg"))
        for name, part in (("images", photographs), ("validation", photographs[::2])):
            for path in part:
                place = folder / name / path.parent.name / path.name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(path.read_bytes())
    elif setting == "imagenet":
        script = shlex.quote(str(ROOT / "tests" / "helpers" / "miniature.py"))
        execute(f"python {script} downloads", folder)


def _run_demo(folder: Path) -> None:
    """Run tools/demo.sh in a folder, with this environment."""
    tools = folder / "tools"
    tools.mkdir()
    for path in (ROOT / "tools").glob("*.py"):
        (tools / path.name).symlink_to(path)
    (tools / "setup.sh").write_text("true\n")
    # A copy: the script works in the folder above its own, which is not to be the checkout.
    (tools / "demo.sh").write_bytes((ROOT / "tools" / "demo.sh").read_bytes())
    execute("bash tools/demo.sh", folder)


def check_page(path: Path, folders: Dict[str, Path], settings: Sequence[str], write: bool) -> int:
    """Run the transcripts of a page; print those that are stale, and replace them if requested."""
    page, stale = path.read_text(encoding="utf-8"), 0
    parts, done = [], 0
    for block in blocks_of(page):
        if block.setting not in settings:
            continue
        lines = []
        for step in block.steps:
            threads = 1 if block.setting == "tutorial" else 2
            printed = execute(step.command, folders[block.setting], threads)
            fresh = is_true(step.shown, printed)
            stale += not fresh
            if not fresh:
                print(f"{path.relative_to(ROOT)}: $ {step.command}: the output is stale")
            lines += [*step.head, *(step.shown if fresh else updated(step.shown, printed))]
        text = "\n".join(block.indent + line if line else line for line in lines)
        parts += [page[done : block.start], text]
        done = block.end
    replaced = "".join([*parts, page[done:]])
    if write:
        if replaced != page:
            path.write_text(replaced, encoding="utf-8")
        replace_pictures(folders)
    return stale


def replace_pictures(folders: Dict[str, Path]) -> None:
    """Copy what the commands drew in these folders to docs/pictures/."""
    for setting, folder in folders.items():
        for drawn, picture in PICTURES.get(setting, {}).items():
            place = ROOT / "docs" / "pictures" / picture
            if (folder / drawn).is_file() and not show_the_same(folder / drawn, place):
                shutil.copyfile(folder / drawn, place)


def show_the_same(drawn: Path, picture: Path) -> bool:
    """Whether two pictures are equal; a PNG in docs/ may have fewer colours."""
    if drawn.suffix != ".png" or not picture.is_file():
        return False
    files = (drawn, picture)
    one, other = (np.asarray(Image.open(path).convert("RGB"), np.int16) for path in files)
    return one.shape == other.shape and bool(np.abs(one - other).max() < 64)


def pages() -> List[Path]:
    """The pages that may hold transcripts."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def check(settings: Sequence[str], only: Sequence[str] = (), write: bool = False) -> int:
    """How many outputs of the pages are stale."""
    stale = 0
    with tempfile.TemporaryDirectory() as scratch:

        @cache
        def prepared(setting: str, page: str) -> Path:
            folder = Path(scratch) / setting / page
            folder.mkdir(parents=True)
            prepare(setting, folder)
            return folder

        for path in pages():
            if only and path.name not in only:
                continue
            needed = {block.setting for block in blocks_of(path.read_text(encoding="utf-8"))}
            folders = {
                name: prepared(name, path.stem if name == "tutorial" else "")
                for name in needed & set(settings)
            }
            stale += check_page(path, folders, settings, write)
    return stale


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Update the pages, or with --check list the stale outputs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if one is stale")
    parser.add_argument("--settings", default=",".join(SETTINGS), help="only these, by default all")
    parser.add_argument("pages", nargs="*", help="names of pages, e.g. demo.md; by default all")
    options = parser.parse_args(argv)
    settings = options.settings.split(",")
    for name in {*settings} - {*SETTINGS}:
        parser.error(f"--settings {name}: choose from {', '.join(SETTINGS)}")
    for name in {*options.pages} - {path.name for path in pages()}:
        parser.error(f"{name}: no such page in docs/")
    stale = check(settings, options.pages, write=not options.check)
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
