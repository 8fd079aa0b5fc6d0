"""Writes WordNet's tree above ImageNet's classes.

    python -m imagenet_trainer.assets.wordnet_paths FOLDER

Reads `data.noun` of WordNet 3.0 (Debian's package wordnet-base installs it in /usr/share/wordnet)
and writes assets/wordnet_paths.txt, an outline: each synset between WordNet's root and one of the
1,000 classes is a line, indented by its depth, below its hypernym. Its output is committed.
"""

import argparse
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from imagenet_trainer import assets
from imagenet_trainer.errors import InputError, run_command
from imagenet_trainer.system.files import atomic_write, file_error

CLASSES = assets.path("imagenet_synsets.txt")
TABLE = assets.path("wordnet_paths.txt")
ROOT, PHYSICAL = "n00001740", "n00001930"  # entity, physical entity


class Synset(NamedTuple):
    """A line of data.noun: its first word, and the ids of its hypernyms in order."""

    name: str
    hypernyms: Tuple[str, ...]


class Nouns:
    """WordNet's nouns by id, parsed on demand: an id is `n` and a byte offset in the file."""

    def __init__(self, path: Path) -> None:
        self.file = path
        self._synsets: Dict[str, Synset] = {}
        self._paths: Dict[str, List[str]] = {ROOT: [ROOT]}
        try:
            self._data = path.read_bytes()
        except OSError as error:
            raise file_error(path, error, "install Debian's package wordnet-base") from error

    def synset(self, wnid: str) -> Synset:
        """Parse a line, see `man wndb`. Raises InputError if the file has no synset of this id."""
        if wnid not in self._synsets:
            offset = int(wnid[1:])
            end = self._data.find(b"\n", offset)
            fields = self._data[offset:end].decode("ascii", "replace").split(" | ")[0].split()
            if not fields or fields[0] != wnid[1:]:
                raise InputError(f"{self.file}: has no synset {wnid}; use data.noun of WordNet 3.0")
            count = int(fields[3], 16)  # of (word, number) pairs
            pointers = fields[4 + 2 * count + 1 :]  # (kind, offset, part of speech, number)
            hypernyms = [
                "n" + pointers[start + 1]
                for start in range(0, 4 * int(fields[4 + 2 * count]), 4)
                if pointers[start] in ("@", "@i")
            ]
            self._synsets[wnid] = Synset(fields[4].replace("_", " "), tuple(hypernyms))
        return self._synsets[wnid]

    def path(self, wnid: str) -> List[str]:
        """Ids from the root to a synset, both included.

        Of several hypernyms the path prefers a physical one to an abstract one, then the one with
        the longest path, which is the most specific, then the first. So a dog is a canine and not
        only a domestic animal, a quail a bird and not only game, wine a liquid and not only a part.
        """
        if wnid not in self._paths:
            paths = [self.path(hypernym) for hypernym in self.synset(wnid).hypernyms]
            # `max` returns the first of equals.
            self._paths[wnid] = [*max(paths, key=lambda path: (PHYSICAL in path, len(path))), wnid]
        return self._paths[wnid]


def outline(nouns: Nouns, classes: Sequence[str]) -> str:
    """The tree above the classes; a line per synset: indentation, id, name. Siblings by id."""
    children: Dict[str, set] = {}
    for wnid in classes:
        path = nouns.path(wnid)
        for parent, child in zip(path, path[1:]):
            children.setdefault(parent, set()).add(child)
    lines: List[str] = []

    def visit(wnid: str, depth: int) -> None:
        lines.append(f"{' ' * depth}{wnid} {nouns.synset(wnid).name}\n")
        for child in sorted(children.get(wnid, ())):
            visit(child, depth + 1)

    visit(ROOT, 0)
    return "".join(lines)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="wordnet_paths", description="Write the tree of WordNet above ImageNet's classes."
    )
    parser.add_argument("folder", type=Path, help="folder with data.noun of WordNet 3.0")
    parser.add_argument(
        "--output", type=Path, default=TABLE, help="file to write (default: %(default)s)"
    )
    arguments = parser.parse_args(argv)

    def body() -> None:
        classes = [line.split()[0] for line in CLASSES.read_text(encoding="utf-8").splitlines()]
        text = outline(Nouns(arguments.folder / "data.noun"), classes)
        with atomic_write(arguments.output, "w") as file:
            file.write(text)

    return run_command("wordnet_paths", body)


if __name__ == "__main__":
    sys.exit(main())
