"""WordNet's tree above ImageNet's classes: python -m imagenet_trainer.assets.wordnet_paths FOLDER

Reads the file `data.noun` of WordNet 3.0 (Debian: the package wordnet-base puts it into
/usr/share/wordnet) and writes assets/wordnet_paths.txt, an outline: every synset that lies between
WordNet's root and one of the 1,000 classes is a line, indented by its depth, below its hypernym.
The lines above a class are its path. It was run once and its output is committed.
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
    """A line of data.noun: its first word, and the ids of its hypernyms in the file's order."""

    name: str
    hypernyms: Tuple[str, ...]


class Nouns:
    """WordNet's nouns by id, read where they are asked for: an id is `n` and a byte offset."""

    def __init__(self, path: Path) -> None:
        self.file = path
        self._known: Dict[str, Synset] = {}
        self._paths: Dict[str, List[str]] = {ROOT: [ROOT]}
        try:
            self._data = path.read_bytes()
        except OSError as error:
            raise file_error(path, error, "Debian's package wordnet-base has it") from error

    def synset(self, wnid: str) -> Synset:
        """Read a line, as `man wndb` describes it. Raises InputError for an id without one."""
        if wnid not in self._known:
            start = int(wnid[1:])
            end = self._data.find(b"\n", start)
            words = self._data[start:end].decode("ascii", "replace").split(" | ")[0].split()
            if not words or words[0] != wnid[1:]:
                raise InputError(
                    f"{self.file}: has no synset {wnid}; its ids are those of WordNet 3.0, take "
                    "data.noun from that version"
                )
            count = int(words[3], 16)  # of (word, number) pairs
            pointers = words[4 + 2 * count + 1 :]  # (kind, offset, part of speech, number)
            hypernyms = [
                "n" + pointers[place + 1]
                for place in range(0, 4 * int(words[4 + 2 * count]), 4)
                if pointers[place] in ("@", "@i")
            ]
            self._known[wnid] = Synset(words[4].replace("_", " "), tuple(hypernyms))
        return self._known[wnid]

    def path(self, wnid: str) -> List[str]:
        """Ids from the root to a synset, both included.

        Where a synset has several hypernyms the path goes through a physical one rather than an
        abstract one, then through the one with the longest path, which is the most specific, and of
        two as long through the first. So a dog is a canine and not only a domestic animal, a
        quail a bird and not only game, and wine a liquid and not only a part of something.
        """
        if wnid not in self._paths:
            above = [self.path(hypernym) for hypernym in self.synset(wnid).hypernyms]
            # `max` keeps the first of equals.
            self._paths[wnid] = [*max(above, key=lambda path: (PHYSICAL in path, len(path))), wnid]
        return self._paths[wnid]


def outline(nouns: Nouns, classes: Sequence[str]) -> str:
    """The tree above the classes, a line a synset: indentation, id, name; siblings by id."""
    below: Dict[str, set] = {}
    for wnid in classes:
        path = nouns.path(wnid)
        for above, under in zip(path, path[1:]):
            below.setdefault(above, set()).add(under)
    lines: List[str] = []

    def visit(wnid: str, depth: int) -> None:
        lines.append(f"{' ' * depth}{wnid} {nouns.synset(wnid).name}\n")
        for child in sorted(below.get(wnid, ())):
            visit(child, depth + 1)

    visit(ROOT, 0)
    return "".join(lines)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="wordnet_paths", description="Write the tree of WordNet above ImageNet's classes."
    )
    parser.add_argument("folder", type=Path, help="holds WordNet 3.0's data.noun")
    parser.add_argument("--output", type=Path, default=TABLE, help="(default: %(default)s)")
    arguments = parser.parse_args(argv)

    def body() -> None:
        classes = [line.split()[0] for line in CLASSES.read_text(encoding="utf-8").splitlines()]
        text = outline(Nouns(arguments.folder / "data.noun"), classes)
        with atomic_write(arguments.output, "w") as file:
            file.write(text)

    return run_command("wordnet_paths", body)


if __name__ == "__main__":
    sys.exit(main())
