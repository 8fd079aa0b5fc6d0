"""The class of each validation image of ILSVRC2012: the devkit, Kaggle's CSV, the blacklist.

The devkit numbers the classes from 1 in its own order (ILSVRC2012_ID 1 is n02119789). Networks
number them from 0 in the sorted order of the WordNet ids. This module therefore returns labels only
as WordNet ids, and checks them on the first ten images, whose classes are known, to detect numbers
that were read in the wrong order.
"""

import csv
import io
import lzma
import os
import re
import tarfile
import zlib
from typing import Callable, Dict, Iterator, Set, Tuple

import numpy as np
from scipy.io import loadmat

from imagenet_trainer.data.records.manifest import known_synsets
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import AnyPath, file_error

Labels = Dict[str, str]  # file name without extension -> WordNet id

# (ILSVRC2012_ID, WordNet id) of ILSVRC2012_val_00000001, ILSVRC2012_val_00000002, ...
_FIRST_IMAGES = (
    (490, "n01751748"), (361, "n09193705"), (171, "n02105855"), (822, "n04263257"),
    (297, "n03125729"), (482, "n01735189"), (13, "n02346627"), (704, "n02776631"),
    (599, "n03794056"), (164, "n02328150"),
)  # fmt: skip
_META = re.compile(r"meta(_clsloc)?\.mat")
_TRUTH = re.compile(r"ILSVRC\d+(_clsloc)?_validation_ground_truth\.txt")
_MOST_BYTES = 1 << 26  # the devkit's files are smaller than a megabyte
_WORDNET_ID = re.compile(r"n\d{8}")


def validation_name(number: int) -> str:
    """The name of ILSVRC2012's validation image 1, 2, ..., 50000, without extension."""
    return f"ILSVRC2012_val_{number:08d}"


def read_labels(path: str) -> Labels:
    """The classes of the validation images.

    Read from LOC_val_solution.csv, from Tiny ImageNet's val_annotations.txt, or from the devkit:
    its folder, ILSVRC2012_devkit_t12.tar.gz, or its ground truth file next to meta.mat. Raises
    InputError if they cannot be read, or if a number is not in meta.mat.
    """
    if path.lower().endswith(".csv"):
        labels = _solution(path)
    elif path.lower().endswith(".txt") and b"\t" in _bytes_of(path).partition(b"\n")[0]:
        labels = _annotations(path)
    else:
        labels = _devkit(path)
    check_numbering(path, labels)
    return labels


def check_numbering(source: str, labels: Labels) -> None:
    """Raise InputError if one of ILSVRC2012's first ten images has a wrong class."""
    synsets = known_synsets()
    order = list(synsets)
    for number, (devkit_number, right) in enumerate(_FIRST_IMAGES, 1):
        label = labels.get(validation_name(number), right)
        if label == right:
            continue
        if label in order[devkit_number - 1 : devkit_number + 1]:
            reason = (
                f"the devkit's number {devkit_number} was used as an index into the sorted WordNet "
                "ids; use the devkit as distributed by image-net.org, with its meta.mat"
            )
        else:
            reason = "these are not ILSVRC2012's labels; use the labels as distributed"
        raise InputError(
            f"{source}: {validation_name(number)} has class {label}, but shows "
            f"{right} {synsets[right]}: {reason}"
        )


def read_blacklist(path: str) -> Set[str]:
    """Names of validation images to exclude, from a file with one number per line.

    ILSVRC2014_clsloc_validation_blacklist.txt has this format. Raises InputError with the line.
    """
    return {validation_name(number) for number in _numbers(path, _bytes_of(path))}


# --- the devkit --------------------------------------------------------------------------------


def _devkit(path: str) -> Labels:
    files = _devkit_files(path)
    # A text file that is given by name is the ground truth, whatever its name.
    truths = (one for one in files if one == path or _TRUTH.fullmatch(os.path.basename(one)))
    truth = next(truths, None)
    meta = next((one for one in files if _META.fullmatch(os.path.basename(one))), None)
    if truth is None:
        raise InputError(
            f"{path}: contains no ILSVRC2012_validation_ground_truth.txt; give the devkit "
            "ILSVRC2012_devkit_t12.tar.gz or its folder"
        )
    if meta is None:
        raise InputError(
            f"{truth}: needs the devkit's meta.mat next to it, because its numbers do not follow "
            "the sorted order of the classes; give the whole devkit, ILSVRC2012_devkit_t12.tar.gz"
        )
    classes = _classes_of_meta(meta, files[meta])
    labels: Labels = {}
    for line, number in enumerate(_numbers(truth, files[truth]), 1):
        if number not in classes:
            raise InputError(
                f"{truth}: line {line}: {number} is not an ILSVRC2012_ID in {meta}; give both "
                "files of the same devkit"
            )
        labels[validation_name(line)] = classes[number]
    return labels


def _devkit_files(path: str) -> Dict[str, bytes]:
    """Contents of the ground truth and meta.mat anywhere in a devkit, by full path."""

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
            f"{path}: not the devkit, or damaged; give ILSVRC2012_devkit_t12.tar.gz, its folder, "
            "or LOC_val_solution.csv"
        ) from error
    except OSError as error:
        raise file_error(path, error) from error


def _files_of_tar(path: str, wanted: Callable[[str], bool]) -> Iterator[Tuple[str, bytes]]:
    with tarfile.open(path) as tar:
        for member in tar:
            if wanted(os.path.basename(member.name)) and member.isreg():
                file = tar.extractfile(member)
                if file is not None:
                    yield f"{path}: {member.name}", file.read(_MOST_BYTES)


def _classes_of_meta(name: str, data: bytes) -> Dict[int, str]:
    """WordNet ids by ILSVRC2012_ID."""
    try:
        table = loadmat(io.BytesIO(data), squeeze_me=True, variable_names=["synsets"])["synsets"]
        table = np.atleast_1d(table)
        key = next(one for one in table.dtype.names if re.fullmatch(r"ILSVRC\d*_ID", one))
        classes = {int(number): str(wnid) for number, wnid in zip(table[key], table["WNID"])}
    except Exception as error:  # damaged files make SciPy raise errors of many types
        raise InputError(
            f"{name}: damaged, or not the devkit's table of classes; unpack the devkit again"
        ) from error
    if len(classes) < len(table) or not all(map(_WORDNET_ID.fullmatch, classes.values())):
        raise InputError(
            f"{name}: ILSVRC2012_ID and WNID are not a number and a WordNet id for each class; "
            "unpack the devkit again"
        )
    return classes


# --- text files --------------------------------------------------------------------------------


def _solution(path: str) -> Labels:
    """Labels of LOC_val_solution.csv: `ILSVRC2012_val_00000001,n01751748 111 108 370 297 `."""
    labels: Labels = {}
    text = _bytes_of(path).decode("utf-8-sig", "replace")
    try:
        rows = list(csv.reader(io.StringIO(text)))
    except csv.Error as error:
        raise InputError(
            f"{path}: not a CSV file ({error}); give LOC_val_solution.csv as distributed by Kaggle"
        ) from error
    for number, row in enumerate(rows, 1):
        if not row or (number == 1 and row[0] == "ImageId"):
            continue
        # Each object is a WordNet id followed by the four pixel coordinates of its box.
        classes = set(row[1].split()[::5]) if len(row) == 2 else set()
        wnid = classes.pop() if len(classes) == 1 else ""
        if not _WORDNET_ID.fullmatch(wnid) or row[0] in labels:
            raise InputError(
                f"{path}: line {number}: not an image with one WordNet id, or an image that occurs "
                "twice; give LOC_val_solution.csv as distributed by Kaggle"
            )
        labels[row[0]] = wnid
    if not labels:
        raise InputError(f"{path}: the file is empty; give LOC_val_solution.csv")
    return labels


def _annotations(path: str) -> Labels:
    r"""Labels of val_annotations.txt: `val_0.JPEG \t n03444034 \t 0 \t 32 \t 44 \t 62`."""
    labels: Labels = {}
    for number, line in enumerate(_bytes_of(path).decode("utf-8-sig", "replace").splitlines(), 1):
        image, _, rest = line.partition("\t")
        name, label = os.path.splitext(image)[0], rest.partition("\t")[0].strip()
        if not line.strip():
            continue
        if not name or not label or name in labels:
            raise InputError(
                f"{path}: line {number}: not an image and its class with a tab between them, or "
                "an image that occurs twice; unpack the dataset again"
            )
        labels[name] = label
    return labels


def _numbers(name: str, data: bytes) -> Tuple[int, ...]:
    """The numbers of a file with one number per line, each 1 or more."""
    lines = data.decode("utf-8", "replace").rstrip().split("\n")
    numbers = []
    for line, text in enumerate(map(str.strip, lines), 1):
        is_number = re.fullmatch(r"\d{1,9}", text, re.A)
        if not is_number or int(text) == 0:
            reason = "give a file with one number per line"
            if is_number:
                reason = "the devkit counts from 1, so this file is not the devkit's"
            raise InputError(
                f"{name}: line {line}: {text[:40]!r} is not a number of 1 or more; {reason}"
            )
        numbers.append(int(text))
    return tuple(numbers)


def _bytes_of(path: AnyPath) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MOST_BYTES)
    except OSError as error:
        raise file_error(path, error) from error
