"""What setup.cfg cannot hold: the modules in C, and in-place installs by older pips.

They are optional. Without a C compiler, the headers of Python or those of libjpeg-turbo, the build
prints a warning and leaves them out; the package then decodes whole images.
"""

from setuptools import Extension, setup

_FOLDER = "imagenet_trainer/data/images"
_SOURCES = {"_jpeg_window": ("_jpeg_window", "_jpeg_scan"), "_jpeg_restart": ("_jpeg_restart",)}

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
