"""The benchmark of the symmetric KL: its peers agree, and its arithmetic."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import symmetric_kl as benchmark


def test_runs_on_a_cpu_and_says_what_it_did_not_measure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "compile", lambda function: function)
    sizes = ["--rows=3", "--vocabulary=40", "--rounds=2"]
    benchmark.main([*sizes, "--json", str(tmp_path / "figures.json")])
    printed = capsys.readouterr().out
    assert "| kernel | not measured: no GPU" in printed
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert figures["torch"]["seconds"] > 0 and figures["torch.compile"]["seconds"] > 0
    assert figures["share_of_copy_bandwidth"] == "not measured: no GPU"
    assert figures["bytes_of_one_branch"] == 3 * 40 * 2


def test_peers_compute_the_same() -> None:
    logits = [torch.randn(3, 50, requires_grad=True) for _ in range(2)]
    values, gradients = [], []
    for loss in (benchmark.by_torch, benchmark.operations):
        values.append(loss(*logits))
        gradients.append(torch.autograd.grad(values[-1], logits))
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_compiler_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(function: object) -> object:
        def call(*logits: torch.Tensor) -> None:
            raise RuntimeError("no compiler")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    logits = [torch.randn(2, 5, requires_grad=True) for _ in range(2)]
    steps, left_out = benchmark.peers(logits)
    assert list(steps) == ["torch"]
    assert left_out["torch.compile"] == "not measured: RuntimeError"


def test_share_of_the_copy_bandwidth() -> None:
    # 206 MB a branch: 6 of them in 1 ms are 1.236 TB/s, 4 in half of that 1.648 TB/s.
    figures = {"kernel": {"seconds": 1e-3}, "kernel at once": {"seconds": 5e-4}}
    shares = benchmark.shares(figures, 206_000_000, 2e12)
    assert shares == pytest.approx({"kernel": 0.618, "kernel at once": 0.824})
    assert benchmark.shares({}, 1, 1.0) == {}
