import pytest
from conftest import one_line_failure

from imagenet_trainer.packing import im2rec


@pytest.fixture
def fails(capsys):
    """Runs im2rec, which must exit with 2 and one line; returns the line without the name."""
    return one_line_failure(lambda words: im2rec.main([*map(str, words)]), "im2rec", capsys)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
