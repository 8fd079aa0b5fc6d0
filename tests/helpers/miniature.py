"""A miniature ILSVRC2012 in all forms in which it is distributed; the images are noise.

Its ten classes are those of the first ten validation images, so labels and numbers are real.
`python tests/helpers/miniature.py FOLDER` writes the three files of image-net.org.
"""

import csv
import io
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np

# ILSVRC2012_ID and WordNet id of ILSVRC2012_val_00000001.JPEG and the following images.
FIRST = (
    (490, "n01751748"), (361, "n09193705"), (171, "n02105855"), (822, "n04263257"),
    (297, "n03125729"), (482, "n01735189"), (13, "n02346627"), (704, "n02776631"),
    (599, "n03794056"), (164, "n02328150"),
)  # fmt: skip
CLASSES = sorted(wnid for _, wnid in FIRST)
TRAIN_PER_CLASS, VAL_PER_CLASS = 6, 2


def image(seed):
    """A JPEG file, 48 x 36 pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (36, 48, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def train_files():
    """Contents by path: n01735189/n01735189_10.JPEG ..."""
    return {
        f"{wnid}/{wnid}_{10 + number}.JPEG": image(100 * place + number)
        for place, wnid in enumerate(CLASSES)
        for number in range(TRAIN_PER_CLASS)
    }


def val_truth():
    """(ILSVRC2012_ID, WordNet id) of the validation images 1, 2, ..."""
    return [*FIRST, *reversed(FIRST)]


def val_files():
    """Contents by name: ILSVRC2012_val_00000001.JPEG ..."""
    return {
        f"ILSVRC2012_val_{number:08d}.JPEG": image(9000 + number)
        for number in range(1, len(val_truth()) + 1)
    }


def tar_of(files, mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=tarfile.GNU_FORMAT) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def meta_mat(numbers=FIRST):
    """meta.mat with the devkit's fields, and a synset that is no class of the challenge."""
    from scipy.io import savemat

    fields = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children",
              "wordnet_height", "num_train_images")  # fmt: skip
    table = np.empty((len(numbers) + 1, 1), [(name, object) for name in fields])
    for row, (number, wnid) in enumerate(sorted(numbers)):
        table[row, 0] = (float(number), wnid, "a name", "a gloss", 0.0, np.zeros(0), 0.0, 6.0)
    table[-1, 0] = (1001.0, "n00001740", "entity", "all", 10.0, np.arange(10.0), 9.0, 0.0)
    buffer = io.BytesIO()
    savemat(buffer, {"synsets": table}, do_compression=True)
    return buffer.getvalue()


def devkit_files(numbers=FIRST):
    truth = "".join(f"{number}\n" for number, _ in val_truth())
    return {
        "ILSVRC2012_devkit_t12/readme.txt": b"the devkit",
        "ILSVRC2012_devkit_t12/data/meta.mat": meta_mat(numbers),
        "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt": truth.encode(),
    }


def write_files(folder, files):
    for name, data in files.items():
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def write_downloads(folder):
    """The three files of image-net.org: a tar of tars, a flat tar, the devkit."""
    inner = {}
    for wnid in CLASSES:
        of_class = {n.split("/")[1]: d for n, d in train_files().items() if n.startswith(wnid)}
        inner[f"{wnid}.tar"] = tar_of(of_class)
    files = {
        "ILSVRC2012_img_train.tar": tar_of(inner),
        "ILSVRC2012_img_val.tar": tar_of(val_files()),
        "ILSVRC2012_devkit_t12.tar.gz": tar_of(devkit_files(), "w:gz"),
    }
    write_files(folder, files)


def write_flat(folder):
    """Unpacked: train with class folders, val flat, and the folder of the devkit."""
    write_files(folder, {f"train/{name}": data for name, data in train_files().items()})
    write_files(folder, {f"val/{name}": data for name, data in val_files().items()})
    write_files(folder, devkit_files())


def write_sorted(folder):
    """Unpacked: train and val, both with class folders."""
    write_files(folder, {f"train/{name}": data for name, data in train_files().items()})
    for (name, data), (_, wnid) in zip(val_files().items(), val_truth()):
        write_files(folder, {f"val/{wnid}/{name}": data})


def write_kaggle(folder):
    """As on Kaggle: CLS-LOC folders, LOC_val_solution.csv, test images without labels."""
    inside = "ILSVRC/Data/CLS-LOC"
    write_files(folder, {f"{inside}/train/{name}": data for name, data in train_files().items()})
    write_files(folder, {f"{inside}/val/{name}": data for name, data in val_files().items()})
    for number in range(1, 4):
        name = f"{inside}/test/ILSVRC2012_test_{number:08d}.JPEG"
        write_files(folder, {name: image(9500 + number)})
    with open(Path(folder) / "LOC_val_solution.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("ImageId", "PredictionString"))
        rows = list(enumerate(val_truth(), 1))
        for number, (_, wnid) in rows[::-1]:  # Kaggle's lines are in no order
            boxes = f"{wnid} 1 2 30 40 " * (1 + number % 2)
            writer.writerow((f"ILSVRC2012_val_{number:08d}", boxes))


if __name__ == "__main__":
    write_downloads(sys.argv[1])
