"""Which class each validation image of ILSVRC2012 has: the devkit, Kaggle's CSV, the blacklist.

The devkit counts its classes from 1 in an order of its own (ILSVRC2012_ID 1 is n02119789), not in
the sorted order of the WordNet ids in which networks count them. Labels therefore leave this
module as WordNet ids only, and the ten first images, whose classes are known, tell numbers that
somebody has read in the other order.
"""

import csv
import io
import lzma
import os
import re
import tarfile
import zlib
from typing import Any, Dict, Iterator, Optional, Set, Tuple

from imagenet_trainer.data.records.manifest import known_synsets
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import AnyPath, file_error

Labels = Dict[str, str]  # file name without ending -> WordNet id

# (ILSVRC2012_ID, WordNet id) of ILSVRC2012_val_00000001, ILSVRC2012_val_00000002, ...
_FIRST_IMAGES = (
    (490, "n01751748"), (361, "n09193705"), (171, "n02105855"), (822, "n04263257"),
    (297, "n03125729"), (482, "n01735189"), (13, "n02346627"), (704, "n02776631"),
    (599, "n03794056"), (164, "n02328150"),
)  # fmt: skip
_META = re.compile(r"meta(_clsloc)?\.mat")
_TRUTH = re.compile(r"ILSVRC\d+(_clsloc)?_validation_ground_truth\.txt")
_MOST_BYTES = 1 << 26  # a devkit's files have under a megabyte
_WORDNET_ID = re.compile(r"n\d{8}")


def validation_name(number: int) -> str:
    """The name of ILSVRC2012's validation image 1, 2, ..., 50000, without its ending."""
    return f"ILSVRC2012_val_{number:08d}"


def read_labels(path: str) -> Labels:
    """The classes of the validation images.

    From LOC_val_solution.csv, or from the devkit: its folder, ILSVRC2012_devkit_t12.tar.gz, or
    its ground truth with meta.mat beside it. Raises InputError where they cannot be read, or
    where the numbers are not those of meta.mat.
    """
    labels = _solution(path) if path.lower().endswith(".csv") else _devkit(path)
    check_numbering(path, labels)
    return labels


def check_numbering(source: str, labels: Labels) -> None:
    """Raise InputError where one of ILSVRC2012's first ten images has a wrong class."""
    synsets = known_synsets()
    order = list(synsets)
    for number, (devkit_number, right) in enumerate(_FIRST_IMAGES, 1):
        found = labels.get(validation_name(number), right)
        if found == right:
            continue
        if found in order[devkit_number - 1 : devkit_number + 1]:
            reason = (
                f"the devkit's number {devkit_number} was taken for a place in the sorted WordNet "
                "ids; give the devkit as image-net.org hands it out, with its meta.mat"
            )
        else:
            reason = "these are not ILSVRC2012's labels; give --val-labels as handed out"
        raise InputError(
            f"{source}: {validation_name(number)} has class {found}, but shows "
            f"{right} {synsets[right]}: {reason}"
        )


def read_blacklist(path: str) -> Set[str]:
    """Names of validation images to leave out, from a file with a number a line.

    That is how ILSVRC2014_clsloc_validation_blacklist.txt is written. Raises InputError with
    file and line.
    """
    return {validation_name(number) for number in _numbers(path, _bytes_of(path))}


# --- the devkit --------------------------------------------------------------------------------


def _devkit(path: str) -> Labels:
    files = _devkit_files(path)
    # A text file that was given by name is the ground truth, whatever it is called.
    truths = (one for one in files if one == path or _TRUTH.fullmatch(os.path.basename(one)))
    truth = next(truths, None)
    meta = next((one for one in files if _META.fullmatch(os.path.basename(one))), None)
    if truth is None:
        raise InputError(
            f"{path}: no ILSVRC2012_validation_ground_truth.txt in it; give the devkit "
            "ILSVRC2012_devkit_t12.tar.gz or its folder"
        )
    if meta is None:
        raise InputError(
            f"{truth}: there is no meta.mat with it, which says what its numbers stand for (they "
            "are not the sorted order); give the whole devkit, ILSVRC2012_devkit_t12.tar.gz"
        )
    classes = _classes_of_meta(meta, files[meta])
    labels: Labels = {}
    for line, number in enumerate(_numbers(truth, files[truth]), 1):
        if number not in classes:
            raise InputError(
                f"{truth}: line {line}: {number} is no ILSVRC2012_ID in {meta}; give both files "
                "as the devkit has them"
            )
        labels[validation_name(line)] = classes[number]
    return labels


def _devkit_files(path: str) -> Dict[str, bytes]:
    """Contents of the ground truth and meta.mat, wherever they are in a devkit, by full path."""

    def wanted(name: str) -> bool:
        return bool(_META.fullmatch(name) or _TRUTH.fullmatch(name))

    if os.path.isdir(path):
        folders = [(at, sorted(names)) for at, _, names in os.walk(path)]
        files = [os.path.join(at, name) for at, names in folders for name in names if wanted(name)]
        return {file: _bytes_of(file) for file in files}
    if path.lower().endswith(".txt"):
        meta = os.path.join(os.path.dirname(path), "meta.mat")
        given = {path: _bytes_of(path)}
        return {**given, meta: _bytes_of(meta)} if os.path.exists(meta) else given
    try:
        return dict(_files_of_tar(path, wanted))
    except (tarfile.TarError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise InputError(
            f"{path}: no devkit, or damaged; give ILSVRC2012_devkit_t12.tar.gz, its "
            "folder, or LOC_val_solution.csv"
        ) from error
    except OSError as error:
        raise file_error(path, error) from error


def _files_of_tar(path: str, wanted: Any) -> Iterator[Tuple[str, bytes]]:
    with tarfile.open(path) as tar:
        for member in tar:
            if wanted(os.path.basename(member.name)) and member.isreg():
                file = tar.extractfile(member)
                if file is not None:
                    yield f"{path}: {member.name}", file.read(_MOST_BYTES)


def _classes_of_meta(name: str, data: bytes) -> Dict[int, str]:
    """WordNet ids by ILSVRC2012_ID."""
    import numpy as np
    from scipy.io import loadmat

    try:
        table = loadmat(io.BytesIO(data), squeeze_me=True, variable_names=["synsets"])["synsets"]
        table = np.atleast_1d(table)
        key = next(one for one in table.dtype.names if re.fullmatch(r"ILSVRC\d*_ID", one))
        classes = {int(number): str(wnid) for number, wnid in zip(table[key], table["WNID"])}
    except Exception as error:  # SciPy raises whatever a damaged byte leads it to
        raise InputError(
            f"{name}: damaged, or not the devkit's table of classes; unpack the devkit anew"
        ) from error
    if len(classes) < len(table) or not all(map(_WORDNET_ID.fullmatch, classes.values())):
        raise InputError(
            f"{name}: its ILSVRC2012_ID and WNID are not a number and a WordNet id for each "
            "class; unpack the devkit anew"
        )
    return classes


# --- text files --------------------------------------------------------------------------------


def _solution(path: str) -> Labels:
    """Labels of LOC_val_solution.csv: `ILSVRC2012_val_00000001,n01751748 111 108 370 297 `."""
    labels: Labels = {}
    text = _bytes_of(path).decode("utf-8", "replace")
    try:
        rows = list(csv.reader(io.StringIO(text)))
    except csv.Error as error:
        raise InputError(
            f"{path}: not a table of commas ({error}); give LOC_val_solution.csv as Kaggle hands "
            "it out"
        ) from error
    for number, row in enumerate(rows, 1):
        if not row or (number == 1 and row[0] == "ImageId"):
            continue
        # A box a found object: its WordNet id, then four numbers of pixels.
        classes = set(row[1].split()[::5]) if len(row) == 2 else set()
        wnid = classes.pop() if len(classes) == 1 else ""
        if not _WORDNET_ID.fullmatch(wnid) or row[0] in labels:
            raise InputError(
                f"{path}: line {number}: not an image with its WordNet id, or one that came "
                "before; give LOC_val_solution.csv as Kaggle hands it out"
            )
        labels[row[0]] = wnid
    if not labels:
        raise InputError(f"{path}: the file is empty; give LOC_val_solution.csv")
    return labels


def _numbers(name: str, data: bytes) -> Tuple[int, ...]:
    """The numbers of a file with one from 1 on in each line."""
    lines = data.decode("utf-8", "replace").rstrip().split("\n")
    found = []
    for line, text in enumerate(lines, 1):
        number: Optional[int] = int(text) if re.fullmatch(r"\d{1,9}", text.strip(), re.A) else None
        if not number:
            raise InputError(
                f"{name}: line {line}: {text.strip()[:40]!r} is not a number from 1 on"
                + ("; the devkit counts from 1, so this file is not the devkit's" * (number == 0))
                + ("; give a file with one a line" * (number is None))
            )
        found.append(number)
    return tuple(found)


def _bytes_of(path: AnyPath) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MOST_BYTES)
    except OSError as error:
        raise file_error(path, error) from error
