"""An error of the user's is one line, and no file."""

from pathlib import Path

from tests.support import fork_fairseq_train, train_flags

# Found when the model is there, in the first forward pass.
BAD = {"criterion": "sentence_prediction_r3f", "r3f_passes": "separate", "quant_noise_pq": 0.1}


def test_with_and_without_the_fix(sentence_data: Path, tmp_path: Path) -> None:
    flags = train_flags(sentence_data, tmp_path, **BAD)
    done = fork_fairseq_train(*flags, check=False)
    assert done.stderr.splitlines()[-1].startswith("rxf: error: --quant-noise-pq")
    assert not list(tmp_path.glob("*.pt"))
    fork_fairseq_train(*flags, check=False, env={"RXF_FIXES": "crash-file"})
    assert [path.name for path in tmp_path.glob("*.pt")] == ["crash.pt"]
