"""The images in a folder or a tar, and the classes that their folders make."""

import os
from typing import Callable, Dict, Iterable, Iterator, List, Sequence, Set, Tuple

from imagenet_trainer.data.images.tars import TarImages
from imagenet_trainer.errors import InputError, attributed_to
from imagenet_trainer.system.files import check_folder, file_error, is_hidden

Reject = Callable[[str, str], None]  # path, reason
Listing = Iterator[Tuple[str, List[str], List[str]]]

_LAYOUT = "a folder for each class, such as {0}/cat/1.jpg and {0}/dog/2.jpg, and --recursive"


def refuse(path: str, reason: str) -> None:
    """Raise InputError."""
    raise InputError(f"{path!r}: {reason}")


def check_root(root: str) -> None:
    """Raise InputError unless this is a folder that can be read."""
    with attributed_to("root", " "):
        check_folder(root)


def walk(
    root: str,
    folder: str,
    extensions: Sequence[str],
    above: Set[Tuple[int, int]],
    reject: Reject = refuse,
) -> Listing:
    """(folder, names of images, names of folders), sorted, each folder before those in it.

    `folder` is the one to begin with, below the root; `above` are device and inode number of those
    around it. What is hidden is passed over. `reject` is called where a link leads back to one of
    them, to itself or nowhere, and for what has an image's name and is no file; by default it
    raises InputError.
    """
    place = os.path.join(root, folder)
    here = os.stat(place)
    identity = (here.st_dev, here.st_ino)
    if identity in above:
        reject(place, "a link to a folder around it; remove it")
        return
    try:
        with os.scandir(place) as entries:
            images, folders = _sort_out(entries, extensions, reject)
    except OSError as error:
        raise file_error(place, error, "allow reading it, or move it away") from error
    images.sort()
    folders.sort()
    yield folder, images, folders
    for name in folders:
        inner = os.path.join(folder, name)
        yield from walk(root, inner, extensions, above | {identity}, reject)


def _sort_out(
    entries: Iterable["os.DirEntry[str]"], extensions: Sequence[str], reject: Reject
) -> Tuple[List[str], List[str]]:
    """Names of the images and of the folders in a folder."""
    images, folders = [], []
    for entry in entries:
        if is_hidden(entry.name):
            continue
        try:
            if entry.is_dir():
                folders.append(entry.name)
            elif not _ends(entry.name, extensions):
                continue
            elif entry.is_file():
                images.append(entry.name)
            else:
                leads_nowhere = entry.is_symlink() and not os.path.exists(entry.path)
                reason = "a link that leads nowhere" if leads_nowhere else "not a file"
                reject(entry.path, f"{reason}; remove it")
        except OSError as error:  # a link to itself
            reject(entry.path, f"{error.strerror}; remove it")
    return images, folders


def _walk_tar(root: str, extensions: Sequence[str]) -> Listing:
    """The same for a tar."""
    images: Dict[str, List[str]] = {"": []}
    inside: Dict[str, Set[str]] = {}
    with TarImages(root) as tar:
        names = [name for name in tar.names() if _ends(name, extensions) and not is_hidden(name)]
    for name in names:
        folder, image = os.path.split(name)
        images.setdefault(folder, []).append(image)
        while folder:
            around, below = os.path.split(folder)
            inside.setdefault(around, set()).add(below)
            folder = around
    for folder in sorted(images, key=lambda path: path.split("/")):
        yield folder, sorted(images[folder]), sorted(inside.get(folder, ()))


def _ends(name: str, extensions: Sequence[str]) -> bool:
    return os.path.splitext(name)[1].lower() in extensions


def check_name(root: str, path: str, reject: Reject = refuse) -> bool:
    """Whether the line of a list can hold a path; `reject` is called with the reason if not."""
    if any(character in path for character in "\t\n\r") or path != path.strip():
        reject(
            os.path.join(root, path),
            "a list cannot hold a name with a tab, a line break or blanks at its ends; rename it",
        )
        return False
    return True


class Tree:
    """A folder or a tar of images; `reject` hears of what cannot be listed."""

    def __init__(self, root: str, extensions: Sequence[str], reject: Reject = refuse):
        self._root, self._extensions, self._reject = root, extensions, reject
        if not os.path.isfile(root):
            check_root(root)

    def _folders(self) -> Listing:
        if os.path.isfile(self._root):
            found = _walk_tar(self._root, self._extensions)
        else:
            found = walk(self._root, "", self._extensions, set(), self._reject)
        for folder, names, folders in found:
            paths = ((name, os.path.join(folder, name)) for name in names)
            good = [name for name, path in paths if check_name(self._root, path, self._reject)]
            yield folder, good, folders

    def class_folders(self) -> List[Tuple[str, List[str]]]:
        """(folder, its images) of every folder with images, in the order of their labels."""
        root = self._root
        folders = [(at, names) for at, names, _ in self._folders() if names]
        if not folders:
            raise self._no_images()
        if folders[0][0] == "":
            if len(folders) == 1:
                raise InputError(
                    f"root {root}: its images lie in no class folders; it should have "
                    f"{_LAYOUT.format(root)}; or give --flat instead, to label them all 0"
                )
            raise InputError(
                f"root {root}: {folders[0][1][0]} and {len(folders[0][1]) - 1} more images lie "
                "beside the class folders and would become class 0; move them away"
            )
        return folders

    def one_folder(self, flat: bool) -> List[Tuple[str, List[str]]]:
        """The images right in the root, as one class; not `flat`, an error says what is meant."""
        root = self._root
        _, names, folders = next(self._folders())
        if names and flat:
            return [("", names)]
        if names:
            raise InputError(
                f"root {root}: its {len(names)} images lie in no class folders and would all get "
                f"label 0; it should have {_LAYOUT.format(root)}; give --flat to mean it"
            )
        if folders:
            raise InputError(
                f"root {root}: has no images but {len(folders)} folders, {folders[0]} first; "
                "give --recursive to make each of them a class"
            )
        raise self._no_images()

    def _no_images(self) -> InputError:
        return InputError(
            f"root {self._root}: no images in it (files ending in {' '.join(self._extensions)}); "
            f"it should have {_LAYOUT.format(self._root)}; --exts names other endings"
        )
