"""``--bf16`` on the command line does not mean TPU."""

from pathlib import Path
from typing import Any

import pytest
from fairseq import options

from tests.support import fork_fairseq_train, stock, train_flags


def _parse(parse: Any, data: Path, *more: str) -> Any:
    flags = train_flags(data, Path("unused"))
    return parse(options.get_training_parser(), [*flags, *more])


@pytest.mark.parametrize("flag", ["--bf16", "--memory-efficient-bf16"])
def test_tpu_is_what_the_user_said(flag: str, sentence_data: Path) -> None:
    parse = options.parse_args_and_arch
    assert _parse(stock(parse), sentence_data, flag).tpu
    parsed = _parse(parse, sentence_data, flag)
    assert parsed.bf16 and not parsed.tpu
    assert _parse(parse, sentence_data, flag, "--tpu").tpu
    assert _parse(parse, sentence_data, "--tpu").tpu


def test_known_arguments_only(sentence_data: Path) -> None:
    parser = options.get_training_parser()
    flags = [*train_flags(sentence_data, Path("unused")), "--bf16", "--no-such-flag"]
    parsed, rest = options.parse_args_and_arch(parser, flags, parse_known=True)
    assert not parsed.tpu and rest == ["--no-such-flag"]


@pytest.mark.parametrize(
    "flag", ["bf16", pytest.param("memory_efficient_bf16", marks=pytest.mark.slow)]
)
def test_trains(flag: str, tmp_path: Path, sentence_data: Path) -> None:
    flags = train_flags(sentence_data, tmp_path, **{flag: True})
    fork_fairseq_train(*flags)


def test_off_switch(tmp_path: Path, sentence_data: Path) -> None:
    flags = train_flags(sentence_data, tmp_path, bf16=True)
    done = fork_fairseq_train(*flags, env={"RXF_FIXES": "bf16"}, check=False)
    assert done.returncode != 0
