"""What setup.cfg cannot hold: the modules in C, links, older pips.

The modules are optional. Without a C compiler, the headers of Python or those of libjpeg-turbo, the
build prints a warning and leaves them out; the package then decodes whole images. Links are that of
a checkout from a zip, and those of README.md in package indexes.
"""

import configparser
import re
from pathlib import Path

from setuptools import Extension, setup

_HERE = Path(__file__).resolve().parent
_FOLDER = "imagenet_trainer/data/images"
_SOURCES = {"_jpeg_window": ("_jpeg_window", "_jpeg_scan"), "_jpeg_restart": ("_jpeg_restart",)}


# Programs that do not keep links, such as Python's zipfile, write a file with the link's target.
_LINK, _TARGET = _HERE / "imagenet_trainer" / "symbols", "../symbols"


def restore_link() -> None:
    """Make the link to symbols/ where a file has its place."""
    if _LINK.is_file() and _LINK.read_text().strip() == _TARGET:
        _LINK.unlink()
        _LINK.symlink_to(_TARGET, target_is_directory=True)


def source_address() -> str:
    """The `Source` of project_urls in setup.cfg; empty if there is none."""
    config = configparser.ConfigParser()
    config.read(_HERE / "setup.cfg", encoding="utf-8")
    lines = config.get("metadata", "project_urls", fallback="").split("\n")
    pairs = (line.partition("=") for line in lines)
    return next((url.strip().rstrip("/") for key, _, url in pairs if key.strip() == "Source"), "")


def long_description(text: str, source: str, version: str) -> str:
    """README.md for package indexes, which do not resolve relative links and pictures."""
    if not source:
        return text

    def absolute(match: "re.Match[str]") -> str:
        kind = "raw" if match[1] else "blob"
        return f"{match[1]}[{match[2]}]({source}/{kind}/v{version}/{match[3]})"

    return re.sub(r"(!?)\[([^]]*)\]\((?!\w+:|#)([^)\s]+)\)", absolute, text)


def _version() -> str:
    text = (_HERE / "imagenet_trainer" / "__init__.py").read_text(encoding="utf-8")
    return re.findall(r'^__version__ = "(.+)"', text, re.MULTILINE)[0]


if __name__ == "__main__":
    restore_link()
    setup(
        long_description=long_description(
            (_HERE / "README.md").read_text(encoding="utf-8"), source_address(), _version()
        ),
        ext_modules=[
            Extension(
                f"{_FOLDER.replace('/', '.')}.{name}",
                [f"{_FOLDER}/{source}.c" for source in sources],
                depends=[f"{_FOLDER}/_jpeg_errors.h", f"{_FOLDER}/_jpeg_scan.h"],
                libraries=["jpeg"],
                optional=True,
            )
            for name, sources in _SOURCES.items()
        ],
    )
