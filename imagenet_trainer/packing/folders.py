"""The images in a folder or a tar, and the classes that their folders define."""

import os
from collections import Counter
from typing import Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple

from imagenet_trainer.data.images.tars import TarImages
from imagenet_trainer.data.kinds import EXTENSIONS, kind_of
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.console import format_images
from imagenet_trainer.system.files import check_folder, file_error, is_hidden

Reject = Callable[[str, str], None]  # path, reason
Listing = Iterator[Tuple[str, List[str]]]  # folder relative to the root, names of its images
# Files beside images that are known not to be images; they are not opened.
_OTHER_FILES = frozenset(
    ".txt .csv .tsv .json .xml .html .md .log .db .ini .yaml .yml .npy .npz .mat .zip .tar .gz "
    ".py .sh .lst .rec .idx .pdf .mp4".split()
)


class LeftOut:
    """Images that are not listed because of their file extension, and their folders."""

    def __init__(self) -> None:
        self.extensions: Counter[str] = Counter()
        self.folders: Set[str] = set()  # relative to the root; `Tree.class_folders` removes classes

    def add(self, folder: str, name: str) -> None:
        """Count an image, which is not listed."""
        self.extensions[os.path.splitext(name)[1].lower()] += 1
        self.folders.add(folder)

    def describe(self) -> str:
        """`16 images with other extensions (.webp 12, .jfif 4)`; "" if there are none."""
        if not self.extensions:
            return ""
        each = ", ".join(f"{one or 'none'} {n:,}" for one, n in self.extensions.most_common())
        return f"{format_images(sum(self.extensions.values()))} with other extensions ({each})"

    def flag(self, extensions: Sequence[str]) -> str:
        """The flag that lists them as well; "" if one has no extension."""
        if "" in self.extensions:
            return ""
        return f"--exts {','.join([*extensions, *self.extensions])}"


class NoImages(InputError):
    """A folder or a tar contains no images with the given extensions."""

    def __init__(self, root: str, extensions: Sequence[str], left_out: LeftOut) -> None:
        others = left_out.describe()
        others = f", but {others}" if others else ""
        super().__init__(f"{root}: contains no images (extensions {' '.join(extensions)}){others}")


class NoClassFolders(InputError):
    """The images of a folder or a tar are not in class folders."""


class StrayImages(InputError):
    """A folder or a tar contains images next to its class folders."""


class OnlyFolders(InputError):
    """A folder or a tar contains folders where images are expected."""


def refuse(path: str, reason: str) -> None:
    """Raise InputError."""
    raise InputError(f"{path!r}: {reason}")


def _walk_folder(
    root: str,
    folder: str,
    extensions: Sequence[str],
    above: Set[Tuple[int, int]],
    left_out: LeftOut,
    reject: Reject,
) -> Listing:
    """The folders, each before its subfolders, and the images in them, sorted.

    `folder` is the first one, relative to the root; `above` contains device and inode numbers of
    its parents. Hidden files and folders are skipped. `left_out` receives the images with other
    extensions. `reject` is called for links that lead to a parent folder, to themselves or nowhere,
    and for entries with an image's extension that are not files.
    """
    path = os.path.join(root, folder)
    status = os.stat(path)
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        reject(path, "a link to a parent folder; remove it")
        return
    try:
        with os.scandir(path) as entries:
            images, others, folders = _partition(entries, extensions, reject)
    except OSError as error:
        raise file_error(path, error, "allow reading it, or move it away") from error
    for name in others:
        left_out.add(folder, name)
    images.sort()
    folders.sort()
    yield folder, images
    for name in folders:
        inner = os.path.join(folder, name)
        yield from _walk_folder(root, inner, extensions, above | {identity}, left_out, reject)


def _partition(
    entries: Iterable["os.DirEntry[str]"], extensions: Sequence[str], reject: Reject
) -> Tuple[List[str], List[str], List[str]]:
    """Names of the images, of those with other extensions, and of the subfolders in a folder."""
    images: List[str] = []
    others: List[str] = []
    folders: List[str] = []
    for entry in entries:
        if is_hidden(entry.name):
            continue
        try:
            if entry.is_dir():
                folders.append(entry.name)
            elif not _has_extension(entry.name, extensions):
                if entry.is_file() and _is_image(entry.path):
                    others.append(entry.name)
            elif entry.is_file():
                images.append(entry.name)
            else:
                leads_nowhere = entry.is_symlink() and not os.path.exists(entry.path)
                reason = "a link that leads nowhere" if leads_nowhere else "not a file"
                reject(entry.path, f"{reason}; remove it")
        except OSError as error:  # a link to itself
            reject(entry.path, f"{error.strerror}; remove it")
    return images, others, folders


def _is_image(path: str) -> bool:
    """Whether a file is an image: by its extension, or if that is unknown by its first bytes."""
    extension = os.path.splitext(path)[1].lower()
    if extension in EXTENSIONS or extension in _OTHER_FILES:
        return extension in EXTENSIONS
    try:
        with open(path, "rb") as file:
            return bool(kind_of(file.read(12)))
    except OSError:
        return False


def _walk_tar(root: str, extensions: Sequence[str], left_out: LeftOut) -> Listing:
    """`_walk_folder` for a tar."""
    images: Dict[str, List[str]] = {"": []}
    with TarImages(root) as tar:
        names = [name for name in tar.names() if not is_hidden(name)]
    for name in names:
        folder, image = os.path.split(name)
        if not _has_extension(name, extensions):
            if _has_extension(name, EXTENSIONS):
                left_out.add(folder, image)
            continue
        images.setdefault(folder, []).append(image)
    for folder in sorted(images, key=lambda path: path.split("/")):
        yield folder, sorted(images[folder])


def _has_extension(name: str, extensions: Sequence[str]) -> bool:
    return os.path.splitext(name)[1].lower() in extensions


def check_name(root: str, path: str, reject: Reject = refuse) -> bool:
    """Whether a list can contain a path; otherwise `reject` is called with the reason."""
    if any(character in path for character in "\t\n\r") or path != path.strip():
        reject(
            os.path.join(root, path),
            "a list cannot contain names with tabs, line breaks or blanks at the ends; rename it",
        )
        return False
    return True


class Tree:
    """A folder or a tar of images; `reject` is called for what a list cannot contain.

    `left_out` receives the images with other extensions.
    """

    def __init__(
        self,
        root: str,
        extensions: Sequence[str],
        reject: Reject = refuse,
        left_out: Optional[LeftOut] = None,
    ):
        self._root, self._extensions, self._reject = root, extensions, reject
        self._left_out = left_out or LeftOut()
        if not os.path.isfile(root):
            check_folder(root)

    def _folders(self) -> Listing:
        if os.path.isfile(self._root):
            listing = _walk_tar(self._root, self._extensions, self._left_out)
        else:
            listing = _walk_folder(
                self._root, "", self._extensions, set(), self._left_out, self._reject
            )
        for folder, names in listing:
            paths = ((name, os.path.join(folder, name)) for name in names)
            yield folder, [one for one, path in paths if check_name(self._root, path, self._reject)]

    def paths(self) -> List[str]:
        """All images, relative to the root, in the order of their folders; NoImages if none."""
        folders = self._folders()
        paths = [os.path.join(folder, name) for folder, names in folders for name in names]
        if not paths:
            raise NoImages(self._root, self._extensions, self._left_out)
        return paths

    def class_folders(self) -> List[Tuple[str, List[str]]]:
        """(folder, its images) of every folder with images, in the order of the labels."""
        root = self._root
        folders = [(at, names) for at, names in self._folders() if names]
        if not folders:
            raise NoImages(root, self._extensions, self._left_out)
        self._left_out.folders.difference_update(at for at, _ in folders)
        folder, names = folders[0]
        if folder == "" and len(folders) == 1:
            raise NoClassFolders(f"{root}: contains {format_images(len(names))}, no class folders")
        if folder == "":
            raise StrayImages(
                f"{root}: {format_images(len(names))} next to the class folders, {names[0]} first, "
                "would become class 0"
            )
        return folders

    def one_folder(self, flat: bool) -> List[Tuple[str, List[str]]]:
        """The images directly in the root as one class, which `flat` must allow."""
        root, listing = self._root, self._folders()
        _, names = next(listing)
        if names and flat:
            return [("", names)]
        if names:
            raise NoClassFolders(f"{root}: contains {format_images(len(names))}, no class folders")
        folders = {at.split("/")[0] for at, inside in listing if inside}
        if folders:
            raise OnlyFolders(f"{root}: has images in {len(folders)} folders, {min(folders)} first")
        raise NoImages(root, self._extensions, self._left_out)
