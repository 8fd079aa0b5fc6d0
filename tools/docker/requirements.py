"""Print what the package and its extras require: python tools/docker/requirements.py mxnet,export

The Dockerfile installs these before the code, in a layer that stays as it is when only the code
changes. It reads setup.cfg in the current folder and needs only Python.
"""

import configparser
import re
import sys
from typing import Iterator, Mapping, Sequence

_OWN = re.compile(r"imagenet-trainer\[(.+)\]")


def requirements(known: Mapping[str, str], extras: Sequence[str]) -> Iterator[str]:
    """The requirements of these extras; those of an extra that one of them names are among them.

    Raises SystemExit, with a line, for an unknown extra.
    """
    for extra in extras:
        if extra not in known:
            raise SystemExit(f"EXTRAS={extra}: no such extra; there are {', '.join(known)}")
        for line in filter(None, known[extra].split("\n")):
            own = _OWN.fullmatch(line)
            if own:
                yield from requirements(known, own[1].split(","))
            else:
                yield line


def main(argv: Sequence[str]) -> None:
    """Print a requirement a line, as `pip install -r` reads them."""
    config = configparser.ConfigParser()
    config.read("setup.cfg", encoding="utf-8")
    extras = [extra for extra in argv[0].split(",") if extra]
    lines = list(requirements(config["options.extras_require"], extras))
    print("\n".join([config["options"]["install_requires"].strip(), *lines]))


if __name__ == "__main__":
    main(sys.argv[1:])
