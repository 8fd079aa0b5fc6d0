"""What setup.cfg cannot hold: the decoder of JPEG windows, and in-place installs by older pips.

The decoder is optional. Without a C compiler, the headers of Python or those of libjpeg-turbo,
the build prints a warning and leaves it out; the package then decodes whole images.
"""

from setuptools import Extension, setup

_IMAGES = "imagenet_trainer/data/images"

setup(
    ext_modules=[
        Extension(
            "imagenet_trainer.data.images._jpeg_window",
            [f"{_IMAGES}/_jpeg_window.c"],
            libraries=["jpeg"],
            optional=True,
        )
    ]
)
