"""What commands over many runs are asked for, refused with one line where it means nothing."""

from pathlib import Path

import pytest

from rxf.errors import UserError
from rxf.lab.asked import check_classes, methods_of, seeds_of, settings_of
from rxf.lab.prepared import Prepared
from rxf.methods import registry

FLAGS = ["--regression-target"]
REGRESSION = Prepared("STS-B", Path("/sts"), FLAGS, 1, "pearson_and_spearman", 0.0, 5, 5)


def test_seeds() -> None:
    assert seeds_of("1-3, 7,2") == [1, 2, 3, 7]
    assert seeds_of("2,1-3") == [2, 1, 3]
    assert seeds_of("0") == [0]
    for bad in ("", "a", "3-1", "1,,2", "-1", "1.5"):
        with pytest.raises(UserError, match="--seeds .*1-5"):
            seeds_of(bad)


def test_methods() -> None:
    assert [method.name for method in methods_of("plain, r4f,plain")] == ["plain", "r4f"]
    for bad, said in (
        ("r5f", "--methods r5f: unknown; choose among plain, .*r3f"),
        ("surt", "--methods surt: .*run examples/glue/surt.sh"),
        (",", "--methods ',': names nothing"),
    ):
        with pytest.raises(UserError, match=said):
            methods_of(bad)


def test_settings() -> None:
    methods = methods_of("r3f,r4f")
    words = ["r4f.eps=1e-6", "r4f.noise-type=normal", "r3f.r3f_share_dropout=true"]
    assert settings_of(words, methods) == {
        "r4f": {"eps": 1e-6, "noise_type": "normal"},
        "r3f": {"r3f_share_dropout": True},
    }
    for bad, said in (
        ("r3f.r3f_lambda", "--set r3f.r3f_lambda: write METHOD.NAME=VALUE"),
        ("smart.smart_mu=1", "--set .*: smart is none of --methods r3f,r4f"),
    ):
        with pytest.raises(UserError, match=said):
            settings_of([bad], methods)


def test_classes() -> None:
    with pytest.raises(UserError, match="--methods mmr: .*STS-B is a regression"):
        check_classes(registry.find("mmr"), REGRESSION)
    check_classes(registry.find("r3f"), REGRESSION)
