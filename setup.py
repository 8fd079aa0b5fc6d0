"""What setup.cfg cannot hold: the modules in C, the link of a checkout from a zip, older pips.

They are optional. Without a C compiler, the headers of Python or those of libjpeg-turbo, the build
prints a warning and leaves them out; the package then decodes whole images.
"""

from pathlib import Path

from setuptools import Extension, setup

_FOLDER = "imagenet_trainer/data/images"
_SOURCES = {"_jpeg_window": ("_jpeg_window", "_jpeg_scan"), "_jpeg_restart": ("_jpeg_restart",)}

# Programs that do not keep links, such as Python's zipfile, write a file with the link's target.
_LINK, _TARGET = Path(__file__).resolve().parent / "imagenet_trainer" / "symbols", "../symbols"
if _LINK.is_file() and _LINK.read_text().strip() == _TARGET:
    _LINK.unlink()
    _LINK.symlink_to(_TARGET, target_is_directory=True)

setup(
    ext_modules=[
        Extension(
            f"{_FOLDER.replace('/', '.')}.{name}",
            [f"{_FOLDER}/{source}.c" for source in sources],
            depends=[f"{_FOLDER}/_jpeg_errors.h", f"{_FOLDER}/_jpeg_scan.h"],
            libraries=["jpeg"],
            optional=True,
        )
        for name, sources in _SOURCES.items()
    ]
)
