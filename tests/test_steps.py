"""tools/steps.py: what fails or hangs in a measurement loses only itself."""

import subprocess
import sys

from conftest import ROOT

PROGRAM = """
import os, sys, time
sys.path.insert(0, {tools!r})
import steps

def hang():
    time.sleep(60)

def die():
    os.kill(os.getpid(), 11)

def show(text):
    return lambda: print(text)

steps._START, steps._LEAVE = 3, 0.5
tried = [
    steps.Step("one", 9, show("1")), steps.Step("wrong", 9, lambda: {{}}["key"]),
    steps.Step("two", 9, show("2")), steps.Step("hangs", 0.3, hang),
    steps.Step("crashes", 9, die), steps.Step("three", 9, show("3")),
][{chosen}]
print("missing", steps.run_steps(tried, [sys.executable, *sys.argv], {seconds}))
"""


def run(tmp_path, chosen="slice(None)", seconds=60):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM.format(tools=str(ROOT / "tools"), chosen=chosen, seconds=seconds))
    words = [sys.executable, str(script)]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_every_step_is_tried_and_what_failed_is_explained(tmp_path):
    output = run(tmp_path)
    lines = [line for line in output.splitlines() if line in "123" or line.startswith(("FA", "mi"))]
    assert [line for line in lines if line] == [
        "1", "FAILED wrong", "2", "FAILED hangs: stopped after 0 s; its stacks:", "FAILED crashes",
        "3", "missing 3",
    ]  # fmt: skip
    assert "KeyError: 'key'" in output  # the traceback of `wrong`
    assert "in hang" in output  # the stack of `hangs`
    assert "Segmentation fault" in output and "code -11" in output


def test_steps_for_which_no_time_is_left_are_named(tmp_path):
    output = run(tmp_path, "slice(3, None)", 1)
    assert output.splitlines()[-2:] == ["NOT RUN, no time is left: crashes, three", "missing 3"]
