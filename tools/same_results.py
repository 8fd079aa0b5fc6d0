#!/usr/bin/env python3
"""Check that a change of the code changes no result: `python tools/same_results.py REVISION`.

Runs one list of commands twice, with the code of a git revision and with this checkout, and
compares their files bit for bit: shards, parameters, optimiser states, histories, predictions,
confusion matrices and GIFs. For refactorings; it takes about two minutes on two cores.

Exits with 1 and names each file that differs. Not compared: files with times, loads or wording
(log.txt, events.jsonl, tensorboard/, config.json, reports and plots).
"""

import argparse
import csv
import filecmp
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
PER_CLASS = {"train": 24, "val": 8}

FIT = (
    "-m imagenet_trainer.fit --network resnet --num-layers 8 --image-shape 3,24,24 --batch-size 16 "
    "--data-train train.rec --data-val val.rec --num-epochs 3 --lr 0.05 --lr-step-epochs 2 "
)
AUGMENTED = (
    "--random-resized-crop 1 --min-random-area 0.4 --brightness 0.3 --contrast 0.3 "
    "--saturation 0.3 --pca-noise 0.1 --mixup 0.2 --label-smoothing 0.1 --confusion-gif "
)
COMMANDS = {
    "list": "{tree}/tools/im2rec.py --list --recursive {name} {images}/{name}",
    "pack": "{tree}/tools/im2rec.py {name} {images}/{name} --encoding .png --num-thread 2",
    "JPEG in shards": "{tree}/tools/im2rec.py jpeg {images}/train --resize 40 --quality 90 "
    "--shards 3 --num-thread 2",
    "augmented": FIT + AUGMENTED + "--model-prefix augmented/model",
    "warped": FIT
    + "--random-resized-crop 0 --random-crop 1 --pad-size 2 --max-random-rotate-angle "
    "10 --max-random-shear-ratio 0.1 --ema 0.9 --model-prefix warped/model",
    "two devices": FIT + "--cpus 2 --optimizer nag --model-prefix devices/model",
    "PyTorch": FIT + "--engine torch --model-prefix torch/model",
    "evaluate": "-m imagenet_trainer.evaluate --model-prefix augmented/model --epochs all --gif",
    "ten crops": "-m imagenet_trainer.evaluate --model-prefix warped/model --crops 10 "
    "--save-predictions",
    "ONNX": "-m imagenet_trainer.export --model-prefix augmented/model --to onnx "
    "--data-val val.rec",
}
EXACT = (".rec", ".idx", ".lst", ".params", "-symbol.json", ".gif", ".onnx")
TIMED = re.compile(r"second|speed|per_second|wait|utili|memory|time|gpu|cpu|written|version|path")


def write_images(folder: Path) -> None:
    """The first images of each class of the shipped Fashion-MNIST as PNG, folders by class."""
    from PIL import Image

    with np.load(ROOT / "imagenet_trainer" / "assets" / "fashion_mnist_small.npz") as shipped:
        for name, count in PER_CLASS.items():
            images, labels = shipped[f"{name}_images"], shipped[f"{name}_labels"]
            for label in np.unique(labels):
                place = folder / name / f"class-{label}"
                place.mkdir(parents=True)
                for number, image in enumerate(images[labels == label][:count]):
                    Image.fromarray(image).save(place / f"{number:03d}.png")


def run_all(tree: Path, images: Path, folder: Path) -> None:
    """Run the commands with the code of `tree`; their files go to `folder`.

    Raises SystemExit with the output of a command that fails.
    """
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "2"}
    for what, command in COMMANDS.items():
        if what == "PyTorch" and not importlib.util.find_spec("torch"):
            continue
        if what == "ONNX" and not importlib.util.find_spec("onnx"):
            continue
        for name in ("train", "val") if "{name}" in command else ("",):
            words = shlex.split(command.format(tree=tree, images=images, name=name))
            done = subprocess.run(
                [sys.executable, *words], cwd=folder, env=environment, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
            if done.returncode:
                sys.exit(f"{shlex.join(words)}: exit code {done.returncode}\n{done.stdout}")
        if what == "pack":
            (folder / "jpeg.lst").write_bytes((folder / "train.lst").read_bytes())


def without_times(value: Any) -> Any:
    """The content of a JSON file without times, loads and paths."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if not TIMED.search(k)}
    return [without_times(one) for one in value] if isinstance(value, list) else value


def arrays(path: Path) -> Dict[str, np.ndarray]:
    """All arrays of an .npz file."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def rows(path: Path) -> List[Dict[str, str]]:
    """The rows of a CSV file without columns of times and loads."""
    with open(path, newline="", encoding="utf-8") as file:
        return [
            {k: v for k, v in row.items() if not TIMED.search(k)} for row in csv.DictReader(file)
        ]


def same(old: Path, new: Path) -> Optional[bool]:
    """Whether two files hold the same results; None for files that are not compared."""
    name = new.name
    if name.endswith(".figure.png"):
        return None
    if name.endswith(EXACT) or re.match(r"confusion-\d+.*\.png$", name):
        return filecmp.cmp(old, new, shallow=False)
    if name.endswith(".npz"):
        one, other = arrays(old), arrays(new)
        return one.keys() == other.keys() and all(
            one[key].dtype == other[key].dtype and one[key].tobytes() == other[key].tobytes()
            for key in one
            if not TIMED.search(key)
        )
    if name.endswith(".csv"):
        return rows(old) == rows(new)
    if name.endswith(".json") and name != "config.json":
        one, other = (json.loads(path.read_text(encoding="utf-8")) for path in (old, new))
        return bool(without_times(one) == without_times(other))
    return None


def compare(old: Path, new: Path) -> Iterator[str]:
    """A line for each file that is missing, extra or different."""
    theirs, ours = (
        {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        for folder in (old, new)
    )
    compared = 0
    for name in sorted(theirs.keys() | ours.keys()):
        if "tensorboard" in name:
            continue
        if name not in theirs or name not in ours:
            yield f"{name}: only {'here' if name in ours else 'in the revision'}"
            continue
        found = same(theirs[name], ours[name])
        compared += found is not None
        if found is False:
            yield f"{name}: differs"
    print(f"{compared} files compared")
    if not compared:
        yield "nothing was compared"


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Compare this checkout with a revision; 0 if all results are the same."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("revision", help="a commit, branch or tag to compare with")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the files of both in this folder")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(options.keep).resolve() if options.keep else Path(scratch)
        base.mkdir(parents=True, exist_ok=True)
        if any(base.iterdir()):  # whose runs would be continued
            parser.error(f"--keep {options.keep}: is not empty; remove it, or name another")
        tree = Path(scratch) / "revision"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", tree, options.revision], check=True)
        try:
            write_images(base / "images")
            run_all(tree, base / "images", base / "before")
            run_all(ROOT, base / "images", base / "after")
        finally:
            subprocess.run([*git, "remove", "--force", tree], check=True)
        differences = list(compare(base / "before", base / "after"))
    for line in differences:
        print(line)
    print("the results differ" if differences else "all results are the same, bit for bit")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
