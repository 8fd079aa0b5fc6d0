import pytest

from imagenet_trainer.errors import InputError, run_command


def raising(error):
    def body():
        raise error

    return body


def test_exit_codes():
    assert run_command("fit", lambda: None) == 0
    assert run_command("fit", lambda: 143) == 143
    assert run_command("fit", raising(KeyboardInterrupt())) == 130


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("--lr 9: too\nmuch"), "fit: error: --lr 9: too much\n"),
        (OSError(28, "No space left", "a.rec"), "fit: error: a.rec: No space left\n"),
    ],
)  # fmt: skip
def test_one_line(error, line, capsys):
    assert run_command("fit", raising(error)) == 2
    assert capsys.readouterr().err == line


def test_our_own_mistakes_keep_their_traceback():
    with pytest.raises(KeyError):
        run_command("fit", raising(KeyError("x")))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        # What MXNet, cuDNN through MXNet, PyTorch and Python say when memory is full.
        (
            RuntimeError(
                'Traceback (most recent call last):\n  File "../src/pooled_storage_manager'
                '.h", line 187\nMXNetError: cudaMalloc retry failed: out of memory'
            ),
            "(cudaMalloc retry failed: out of memory)",
        ),
        (
            RuntimeError('File "x.h", line 74\nMXNetError: Failed to allocate CPU Memory'),
            "(Failed to allocate CPU Memory)",
        ),
        (RuntimeError("Check failed: CUDNN_STATUS_ALLOC_FAILED"), "CUDNN_STATUS_ALLOC_FAILED"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "Tried to allocate"),
        (MemoryError(), "of the machine"),
    ],
)
def test_full_memory_is_one_line_with_a_way_out(error, told, capsys):
    def body():
        raise error

    assert run_command("fit", body) == 2
    line = capsys.readouterr().err
    assert line.startswith("fit: error: the memory is full (") and line.count("\n") == 1
    assert told in line and "--batch-size" in line and "--accumulate" in line
    assert run_command("evaluate", body) == 2
    assert "--accumulate" not in capsys.readouterr().err


def test_other_errors_of_the_engine_are_not_hidden():
    def body():
        raise RuntimeError("Check failed: shapes")

    with pytest.raises(RuntimeError, match="shapes"):
        run_command("fit", body)
