"""What the launcher asks Slurm's programs, which are shell scripts here."""

import pytest

from imagenet_trainer.launch import slurm
from imagenet_trainer.launch.main import main


@pytest.fixture
def programs(monkeypatch, tmp_path):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def make(**texts):
        for name, text in texts.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / name).chmod(0o755)

    return make


@pytest.mark.parametrize(("state", "calls"), [("RUNNING", 1), ("COMPLETING", 0), ("", 0)])
def test_a_job_that_is_being_cancelled_stays_cancelled(programs, tmp_path, state, calls):
    programs(squeue=f"echo {state}", scontrol=f'echo "$*" >>{tmp_path}/calls')
    message = slurm.requeue()
    assert (tmp_path / "calls").exists() == bool(calls)
    if calls:
        assert (tmp_path / "calls").read_text() == "requeue 7\n"
        assert message == "--requeue: job 7 is in the queue again"
    else:
        assert message.startswith("--requeue: not needed, job 7 is ")


def test_slurm_may_kill_scontrol_with_the_job(programs):
    programs(squeue="echo RUNNING", scontrol="kill -TERM $$")
    assert slurm.requeue() == "--requeue: job 7 is in the queue again"


def test_slurm_refuses(programs):
    programs(squeue="echo RUNNING", scontrol="echo Requested operation is disabled >&2; exit 1")
    assert slurm.requeue() == (
        "--requeue: Requested operation is disabled; `sbatch` of the same file continues the run"
    )


def test_outside_slurm(monkeypatch, capsys):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert main(["--requeue", "--dry-run", "x"]) == 2
    assert "launch: error: --requeue: this is not a Slurm job" in capsys.readouterr().err
