import ctypes
import threading

import pytest

from imagenet_trainer.system.library_messages import with_messages

libc = ctypes.CDLL(None)


def say(*lines):
    """Print lines through C's `stderr`, as libjpeg does."""
    stream = ctypes.c_void_p.in_dll(libc, "stderr")
    for line in lines:
        libc.fprintf(stream, b"%s\n", line.encode())
    return len(lines)


pytestmark = pytest.mark.skipif(not hasattr(libc, "fopencookie"), reason="needs glibc")


def test_lines_are_returned_with_the_result(capfd):
    assert with_messages(say, "one", "two") == (2, ["one", "two"])
    assert with_messages(say) == (0, [])
    assert capfd.readouterr().err == ""


def test_other_lines_go_to_standard_error(capfd):
    with_messages(say)
    say("for everybody")
    assert capfd.readouterr().err == "for everybody\n"
    with pytest.raises(ZeroDivisionError):
        with_messages(lambda: 1 / 0)
    say("again")
    assert capfd.readouterr().err == "again\n"


def test_each_thread_gets_its_own_lines():
    found = {}
    start = threading.Barrier(4)

    def work(number):
        start.wait()
        found[number] = [with_messages(say, f"{number} {step}")[1] for step in range(200)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [[f"{n} {step}"] for step in range(200)] for n in range(4)}
