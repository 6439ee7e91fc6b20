"""`rxf doctor` as a user runs it, and what it would say of a model that the noise misses."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rxf.lab import doctor


def run_rxf(*args: str, **env: str) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).parent / "rxf"), *args]
    environment = {**os.environ, **env}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_it_proves_that_the_noise_arrives() -> None:
    done = run_rxf("doctor", RXF_FIXES="")
    assert done.returncode == 0, done.stderr
    assert "the noise reaches the logits" in done.stdout
    assert "on  checkpoint-loading" in done.stdout
    assert "OFF" not in done.stdout
    assert "tensorboardX" not in done.stderr + done.stdout


def test_it_shows_which_fixes_are_off() -> None:
    done = run_rxf("doctor", RXF_FIXES="bf16,best-score")
    assert "OFF bf16" in done.stdout and "OFF best-score" in done.stdout
    assert "on  stale-copies" in done.stdout


def test_the_divergence_grows_with_the_square_of_eps() -> None:
    measured = doctor.noise_reaches_the_logits()
    assert measured[0.0] == 0.0
    assert measured[1e-3] / measured[1e-4] == pytest.approx(100, rel=0.1)


def test_noise_that_is_lost_is_called_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """As with fairseq's own criterion: the embeddings are handed over and dropped."""
    from rxf.forward import branches

    lost = contextlib.nullcontext
    monkeypatch.setattr(branches, "perturbed_embeddings", lambda *a, **k: lost())
    assert doctor.run(None) == 1  # type: ignore[arg-type]
    assert "BROKEN" in capsys.readouterr().out


def test_path_is_the_folder_for_user_dir() -> None:
    done = run_rxf("path")
    assert (Path(done.stdout.strip()) / "__init__.py").is_file()


def test_an_unknown_subcommand_is_refused_in_one_line() -> None:
    done = run_rxf("prognose")
    assert done.returncode == 2
    assert "invalid choice: 'prognose'" in done.stderr.splitlines()[-1]
