"""The confusion matrix over the epochs as a video, which ffmpeg encodes."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Iterable, List, Tuple

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import AnyPath, atomic_write
from imagenet_trainer.viz.confusion import LAST_SECONDS, SECONDS, Film

if TYPE_CHECKING:
    import PIL.Image

KINDS = ("mp4", "webm")
_ENCODERS = {
    # Without chroma subsampling browsers do not play it; green on black is nearly all luma.
    "mp4": ("-c:v", "libx264", "-preset", "medium", "-crf", "20", "-pix_fmt", "yuv420p",
            "-movflags", "+faststart"),
    "webm": ("-c:v", "libvpx-vp9", "-crf", "32", "-b:v", "0", "-cpu-used", "4", "-row-mt", "1",
             "-pix_fmt", "yuv420p"),
}  # fmt: skip
_RATE = 5  # images a second that the file holds; an epoch's stands for several


def check_ffmpeg(kind: str) -> str:
    """The path of ffmpeg; InputError if it is not there or cannot encode this kind."""
    found = shutil.which("ffmpeg")
    if not found:
        raise InputError(
            f"--video {kind}: needs ffmpeg, which is not installed; apt-get install ffmpeg, or "
            "take --gif"
        )
    encoder = _ENCODERS[kind][1]
    listed = subprocess.run([found, "-hide_banner", "-encoders"], capture_output=True, text=True)
    if f" {encoder} " not in listed.stdout:
        raise InputError(
            f"--video {kind}: this ffmpeg has no encoder {encoder}; install one that has, or take "
            "--gif"
        )
    return found


def draw_video(path: AnyPath, frames: Iterable[Tuple], kind: str) -> None:
    """Write `confusion.Frame`s as a video, each as long as in the GIF, the last one held.

    Raises ValueError without frames, InputError where ffmpeg is missing or the file cannot be
    written.
    """
    ffmpeg, film = check_ffmpeg(kind), Film(frames)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / f"video.{kind}"
        size = f"{film.side}x{film.side}"
        words = [
            ffmpeg, "-hide_banner", "-loglevel", "error", "-nostdin", "-y",
            "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(_RATE), "-i", "pipe:0",
            *_ENCODERS[kind], "-fflags", "+bitexact", "-flags:v", "+bitexact", "-threads", "1",
            str(made),
        ]  # fmt: skip
        _encode(words, film, kind)
        with atomic_write(path) as file, open(made, "rb") as video:
            shutil.copyfileobj(video, file)


def _encode(words: List[str], film: Film, kind: str) -> None:
    with subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stderr is not None
        try:
            for number, image in enumerate(film, start=1):
                seconds = LAST_SECONDS if number == len(film) else SECONDS
                process.stdin.write(_bytes_of(image) * round(seconds * _RATE))
            process.stdin.close()
        except BrokenPipeError:
            pass  # it says why
        said = process.stderr.read().decode("utf-8", "replace")
    if process.returncode:
        last = (said.strip().splitlines() or ["no reason given"])[-1]
        raise InputError(f"--video {kind}: ffmpeg failed: {last}; take --gif")


def _bytes_of(image: "PIL.Image.Image") -> bytes:
    return image.convert("RGB").tobytes()
