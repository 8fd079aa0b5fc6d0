#!/usr/bin/env python3
"""Measure and draw the structure of the code: `python tools/architecture.py [--draw FILE.svg]`.

Prints the table of docs/architecture.md: modules, rooms and imports between them as they are in
the files, then what one `fit` and one `evaluate` execute. The picture has the rooms on the layers
that setup.cfg declares for import-linter, and an arrow for each import between rooms that does not
follow from the others.
"""

import argparse
import ast
import configparser
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Set, Tuple

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "imagenet_trainer"
# Installed by an extra of setup.cfg only, and the modules that need them: they may be imported
# where they are used.
OPTIONAL = (
    "argcomplete", "cleanlab", "imagecorruptions", "pyarrow", "spdl", "webdataset",
    "aiohttp", "mlflow", "umap", "wandb",
    "mxnet", "torch", "torchvision", "gluoncv", "onnx", "onnxruntime", "nvidia", "pynvml",
    "imagenet_trainer.engines.mxnet", "imagenet_trainer.engines.pytorch",
    "imagenet_trainer.data.dali", "imagenet_trainer.system.mxnet_import",
    "imagenet_trainer.system.fsspec_client",
)  # fmt: skip
# These modules read a command line. Their heavy imports wait until `--help` was answered.
COMMANDS = {
    "fit", "evaluate", "predict", "compare", "export", "published", "benchmark", "doctor",
    "packing.im2rec", "packing.ilsvrc.command", "explore.command", "explore.augmentation",
    "launch.main", "engines.mxnet.serving", "assets.demo_images",
}  # fmt: skip
FIT = (
    "--network resnet --num-layers 8 --image-shape 3,16,16 --batch-size 8 --num-epochs 1 "
    "--data-train train.rec --data-val val.rec --model-prefix run/model"
).split()
EVALUATE = "--model-prefix run/model --data-val val.rec".split()
INDENTED_IMPORT = re.compile(r"^ +(?:from [\w.]+ )?import ", re.MULTILINE)
# Runs a command and prints the files of this project in which a function was called.
TRACED = """
import importlib, sys, threading
root, module, *words = sys.argv[1:]
files = set()
def called(frame, event, _):
    if event == "call" and frame.f_code.co_name != "<module>":
        files.add(frame.f_code.co_filename)
sys.argv[1:] = words
main = importlib.import_module(module).main
threading.setprofile(called)
sys.setprofile(called)
code = main(words)
sys.setprofile(None)
print("", *sorted(name for name in files if name.startswith(root)), sep="\\n", file=sys.stderr)
sys.exit(code)
"""


def sources() -> Iterator[Path]:
    """The modules of the package; `rglob` does not follow the link to symbols/."""
    package = ROOT / PACKAGE
    yield from sorted([*package.rglob("*.py"), *(package / "symbols").glob("*.py")])


def module_of(path: Path) -> str:
    """A module's name, `imagenet_trainer.data.order`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The room of a module; for a command, errors.py and text.py, itself."""
    parts = module.split(".")
    return parts[0] if parts[0] != PACKAGE or len(parts) == 1 else parts[1]


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def modules() -> Set[str]:
    """The names of all modules."""
    return {module_of(path) for path in sources()}


def imports(tree: ast.AST) -> Iterator[Tuple[ast.stmt, str]]:
    """The import statements of a tree, each with the modules that it names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield node, whole if whole in modules() else node.module


def arrows() -> Dict[Tuple[str, str], int]:
    """How many imports lead from one room to another."""
    found: Dict[Tuple[str, str], int] = {}
    for path in sources():
        room = room_of(module_of(path))
        for _, name in imports(tree_of(path)):
            other = room_of(name)
            if name.split(".")[0] == PACKAGE and other not in (room, PACKAGE):
                found[room, other] = found.get((room, other), 0) + 1
    return found


def late_imports() -> List[str]:
    """Imports inside functions that neither a command nor an optional package explains."""
    found = []
    for path in sources():
        if module_of(path).partition(".")[2] in COMMANDS:
            continue
        if not INDENTED_IMPORT.search(path.read_text(encoding="utf-8")):
            continue  # a syntax tree takes long
        for function in ast.walk(tree_of(path)):
            if isinstance(function, ast.FunctionDef):
                found += [
                    f"{path.relative_to(ROOT)}:{node.lineno}: {name}"
                    for node, name in imports(function)
                    if not any(f"{name}.".startswith(f"{one}.") for one in OPTIONAL)
                ]
    return sorted(set(found))


def longest_function() -> Tuple[int, str]:
    """Lines and name of the longest function."""
    return max(
        ((node.end_lineno or 0) - node.lineno + 1, f"{module_of(path)}.{node.name}")
        for path in sources()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef)
    )


def lines_of(path: Path) -> int:
    """The lines of a file."""
    return path.read_text(encoding="utf-8").count("\n")


def run(*words: str, cwd: str) -> "subprocess.CompletedProcess[str]":
    """Run Python with the code of this checkout; SystemExit if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{' '.join(words)}: exit code {done.returncode}\n{done.stderr}")
    return done


def executed() -> Dict[str, List[Path]]:
    """The files in which one `fit` and then one `evaluate` call a function."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        run("-m", f"{PACKAGE}.assets.demo_images", "images", cwd=folder)
        for name in ("train", "val"):
            source = Path(folder) / "images" / name
            for image in sorted(source.rglob("*.png")):
                if int(image.stem) % 50:
                    image.unlink()
            tool = str(ROOT / "tools" / "im2rec.py")
            run(tool, "--list", "--recursive", name, str(source), cwd=folder)
            run(tool, name, str(source), "--encoding", ".png", cwd=folder)
        for name, words in (("fit", FIT), ("evaluate", EVALUATE)):
            module = f"{PACKAGE}.{name}"
            output = run("-c", TRACED, f"{ROOT}/{PACKAGE}/", module, *words, cwd=folder).stderr
            lines = output.rpartition("\n\n")[2].splitlines()
            found[name] = [Path(line) for line in lines if line.endswith(".py")]
    return found


def seconds_of(*words: str, rounds: int = 7) -> float:
    """Median time of a Python process, in seconds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        run(*words, cwd=str(ROOT))
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def table() -> str:
    """Every measure as a row of a Markdown table."""
    paths = list(sources())
    root = [path for path in paths if path.parent == ROOT / PACKAGE]
    rooms = {room_of(module_of(path)) for path in paths if path not in root}
    length, name = longest_function()
    rows = [
        ("modules at the root of the package", len([p for p in root if p.stem != "__init__"])),
        ("rooms", len(rooms)),
        ("pairs of rooms with an import", len(arrows())),
        ("modules, lines", f"{len(paths)}, {sum(map(lines_of, paths)):,}"),
        ("imports inside functions, commands and optional packages apart", len(late_imports())),
        ("longest function", f"{length} lines, `{name}`"),
    ]
    for command, files in executed().items():
        lines = sum(map(lines_of, files))
        rows.append(
            (f"files that one `{command}` executes, their lines", f"{len(files)}, {lines:,}")
        )
        entered = {
            room_of(module_of(path)) for path in files if path.is_relative_to(ROOT / PACKAGE)
        }
        rows.append((f"rooms that one `{command}` enters", len(entered)))
    rows.append(("`fit --help`", f"{seconds_of('-m', f'{PACKAGE}.fit', '--help'):.2f} s"))
    graph = seconds_of(
        "-c", "from imagenet_trainer import symbols; symbols.get_symbol('resnet50', 1000)"
    )
    rows.append(("a process that builds the graph of ResNet-50", f"{graph:.2f} s"))
    return "\n".join(["| measure | value |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows)])


def layers() -> List[List[str]]:
    """The layers of setup.cfg from the top, each a list of rooms."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    text = setup["importlinter:contract:layers"]["layers"]
    return [
        [room_of(name.strip()) for name in line.split("|")] for line in text.strip().splitlines()
    ]


def reduced(pairs: Set[Tuple[str, str]]) -> Set[Tuple[str, str]]:
    """The arrows of a graph without circles that do not follow from two or more others."""
    after: Dict[str, Set[str]] = {}
    for one, other in pairs:
        after.setdefault(one, set()).add(other)

    @cache
    def reached(room: str) -> Set[str]:
        return set().union(*({one} | reached(one) for one in after.get(room, ())))

    return {
        (one, other)
        for one, other in pairs
        if not any(other in reached(between) for between in after[one] - {other})
    }


def draw(path: str) -> None:
    """Draw the rooms on their layers, an arrow from each room to those that it stands on."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = PACKAGE
    from matplotlib import pyplot

    rows = layers()
    where = {
        room: ((place + 0.5) * 12 / len(row), -1.25 * level)
        for level, row in enumerate(rows)
        for place, room in enumerate(row)
    }
    figure, axes = pyplot.subplots(figsize=(11, 8.5))
    sizes: Dict[str, int] = {}
    for source in sources():
        room = room_of(module_of(source))
        sizes[room] = sizes.get(room, 0) + lines_of(source)
    pairs = {pair for pair in arrows() if set(pair) <= where.keys()}
    line = {"arrowstyle": "-|>", "color": "#88aaaa", "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
    for one, other in sorted(reduced(pairs)):
        (x, y), (to_x, to_y) = where[one], where[other]
        axes.annotate("", xy=(to_x, to_y + 0.32), xytext=(x, y - 0.32), arrowprops=line)
    for level, row in enumerate(rows):
        box = {
            "boxstyle": "round,pad=0.35",
            "fc": "#eef5f5" if level else "#fdf3e1",
            "ec": "#557777",
        }
        for room in row:
            name = room if level == 0 or room in ("errors", "text") else f"{room}/"
            axes.text(
                *where[room], f"{name}\n{sizes[room]:,} lines", ha="center", va="center",
                fontsize=9.5, linespacing=1.4, bbox=box,
            )  # fmt: skip
    axes.set_xlim(0, 12)
    axes.set_ylim(-1.25 * (len(rows) - 1) - 0.6, 0.6)
    axes.axis("off")
    figure.savefig(
        path, bbox_inches="tight", metadata={"Date": None} if path.endswith("svg") else None
    )


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Print the measures, or draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draw", metavar="FILE", help="draw the rooms, as .svg or .png")
    parser.add_argument("--late", action="store_true", help="list the imports inside functions")
    options = parser.parse_args(argv)
    if options.draw:
        draw(options.draw)
    elif options.late:
        print("\n".join(late_imports()))
    else:
        print(table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
