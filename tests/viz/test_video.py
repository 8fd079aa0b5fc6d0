import shutil
import subprocess

import numpy as np
import pytest

from imagenet_trainer.errors import InputError
from imagenet_trainer.viz import confusion, video

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
SIDE = 300
FRAMES = [(epoch, np.diag([epoch, 1, 5]) + epoch % 2, epoch / 10) for epoch in range(1, 4)]


def decoded(path):
    """The frames of a video, uint8 (n, height, SIDE, 3)."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(data, np.uint8).reshape(-1, SIDE + confusion.STRIP, SIDE, 3)


@needs_ffmpeg
@pytest.mark.parametrize("kind", video.KINDS)
def test_a_video_shows_the_frames_of_the_gif(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    video.draw_video(path, confusion.Animation(FRAMES, SIDE), kind)
    frames = decoded(path)
    # 5 frames per second: 0.4 s for each epoch and 3 s for the last.
    assert len(frames) == 2 * 2 + 15
    animation = [np.array(image.convert("RGB")) for image in confusion.Animation(FRAMES, SIDE)]
    for number, wanted in zip((0, 2, 18), animation):
        assert np.abs(frames[number].astype(int) - wanted).mean() < 3
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_missing_ffmpeg(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="apt-get install ffmpeg"):
        video.check_ffmpeg("mp4")


def fake(folder, text):
    path = folder / "ffmpeg"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_ffmpeg_without_the_encoder(tmp_path, monkeypatch):
    fake(tmp_path, "echo ' V..... mpeg4 MPEG-4'")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"ffmpeg .*libvpx-vp9"):
        video.check_ffmpeg("webm")


def test_if_ffmpeg_fails_no_file_is_left(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    fake(
        tmp_path / "bin",
        'case "$2" in -encoders) echo " libx264 ";; *) echo no room >&2; exit 1;; esac',
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    with pytest.raises(InputError, match="no room"):
        video.draw_video(tmp_path / "a.mp4", confusion.Animation(FRAMES), "mp4")
    assert not (tmp_path / "a.mp4").exists()
