"""The confusion matrix over the epochs as a video, encoded by ffmpeg."""

import itertools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Iterable, List

from PIL import Image

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import AnyPath, atomic_write
from imagenet_trainer.viz.confusion import LAST_SECONDS, SECONDS, Animation

KINDS = ("mp4", "webm")
_ENCODERS = {
    # Browsers do not play video without chroma subsampling; green on black is nearly all luma.
    "mp4": ("-c:v", "libx264", "-preset", "medium", "-crf", "20", "-pix_fmt", "yuv420p",
            "-movflags", "+faststart"),
    "webm": ("-c:v", "libvpx-vp9", "-crf", "32", "-b:v", "0", "-cpu-used", "4", "-row-mt", "1",
             "-pix_fmt", "yuv420p"),
}  # fmt: skip
_RATE = 5  # frames per second; an epoch is shown for several


def check_ffmpeg(kind: str) -> str:
    """The path of ffmpeg; raises InputError if it is missing or cannot encode this kind."""
    ffmpeg = shutil.which("ffmpeg")
    if not ffmpeg:
        raise InputError("ffmpeg is not installed; run apt-get install ffmpeg")
    encoder = _ENCODERS[kind][1]
    listed = subprocess.run([ffmpeg, "-hide_banner", "-encoders"], capture_output=True, text=True)
    if f" {encoder} " not in listed.stdout:
        raise InputError(f"{ffmpeg} has no encoder {encoder}; install an ffmpeg with it")
    return ffmpeg


def draw_video(path: AnyPath, animation: Animation, kind: str) -> None:
    """Write an animation as a video with the durations of the GIF.

    Raises InputError if ffmpeg is missing or fails, or if the file cannot be written.
    """
    ffmpeg = check_ffmpeg(kind)
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / f"video.{kind}"
        pictures = iter(animation)
        first = next(pictures)
        command = [
            ffmpeg, "-hide_banner", "-loglevel", "error", "-nostdin", "-y",
            "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "{}x{}".format(*first.size),
            "-r", str(_RATE), "-i", "pipe:0",
            *_ENCODERS[kind], "-fflags", "+bitexact", "-flags:v", "+bitexact", "-threads", "1",
            str(temporary),
        ]  # fmt: skip
        _encode(command, itertools.chain([first], pictures), len(animation))
        with atomic_write(path) as file, open(temporary, "rb") as video:
            shutil.copyfileobj(video, file)


def _encode(command: List[str], pictures: Iterable[Image.Image], last: int) -> None:
    """Write the pictures to the command; the one with the number `last` is shown for longer."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stderr is not None
        try:
            for number, picture in enumerate(pictures, start=1):
                seconds = LAST_SECONDS if number == last else SECONDS
                process.stdin.write(_bytes_of(picture) * round(seconds * _RATE))
            process.stdin.close()
        except BrokenPipeError:
            pass  # ffmpeg ended early; its standard error says why
        messages = process.stderr.read().decode("utf-8", "replace")
    if process.returncode:
        message = (messages.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"ffmpeg failed: {message}; check its installation")


def _bytes_of(picture: Image.Image) -> bytes:
    return picture.convert("RGB").tobytes()
