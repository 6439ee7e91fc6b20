"""An architecture without heads is named, with the ones that will do."""

from pathlib import Path

from tests.support import fork_fairseq_train, train_flags


def test_with_and_without_the_fix(sentence_data: Path, tmp_path: Path) -> None:
    flags = train_flags(sentence_data, tmp_path, arch="transformer")
    mended = fork_fairseq_train(*flags, check=False)
    assert mended.returncode == 1
    assert "--arch transformer has no classification head" in mended.stderr.splitlines()[-1]
    stock = fork_fairseq_train(*flags, check=False, env={"RXF_FIXES": "classification-head"})
    assert "AttributeError" in stock.stderr.splitlines()[-1]
