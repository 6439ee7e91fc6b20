"""The registry of fixes, its switch, and the ways of patching."""

import functools
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest

import rxf
from rxf import fairseq_fixes
from rxf.errors import UserError
from rxf.fairseq_fixes.patching import StandIn, wrap
from tests.support import fork_fairseq_train, train_flags

NO_FIX = {"patching", "checkpoint_allow_list"}


def test_every_file_is_a_fix_that_is_listed_and_on() -> None:
    files = {module.name for module in pkgutil.iter_modules(fairseq_fixes.__path__)}
    assert files - NO_FIX == set(fairseq_fixes.MODULES)
    assert all(fairseq_fixes.status().values())
    assert Path(rxf.__file__).exists()


@pytest.mark.parametrize("name", fairseq_fixes.MODULES)
def test_fix_says_what_it_mends(name: str) -> None:
    module = importlib.import_module(f"rxf.fairseq_fixes.{name}")
    assert module.FIX.name == name.replace("_", "-")
    assert module.__doc__ and "Symptom:" in module.__doc__
    assert "Why this mends it:" in module.__doc__
    assert module.FIX.symptom and module.FIX.reference


def test_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = {fix.name for fix in fairseq_fixes.all_fixes()}
    for value, off in (
        ("off", everything),
        ("", set()),
        ("bf16, stale-copies", {"bf16", "stale-copies"}),
    ):
        monkeypatch.setenv("RXF_FIXES", value)
        assert fairseq_fixes._switched_off() == off
    monkeypatch.setenv("RXF_FIXES", "bf16,no-such")
    with pytest.raises(UserError, match="no fix called no-such"):
        fairseq_fixes._switched_off()


def test_unknown_name_is_one_line(sentence_data: Path, tmp_path: Path) -> None:
    flags = train_flags(sentence_data, tmp_path)
    done = fork_fairseq_train(*flags, env={"RXF_FIXES": "no-such"}, check=False)
    assert done.returncode == 1
    assert "rxf: error: RXF_FIXES names no fix called no-such" in done.stderr
    assert "Traceback" not in done.stderr


def test_trains_with_every_fix_off(sentence_data: Path, tmp_path: Path) -> None:
    fork_fairseq_train(*train_flags(sentence_data, tmp_path), env={"RXF_FIXES": "off"})
    assert (tmp_path / "checkpoint_last.pt").exists()


def test_wrap_keeps_name_and_attributes() -> None:
    module = ModuleType("module")
    module.twice = lambda x: 2 * x  # type: ignore[attr-defined]
    module.twice.__doc__ = "Doubles."  # type: ignore[attr-defined]
    module.twice.best = 3  # type: ignore[attr-defined]
    wrap(module, "twice", lambda original, x: original(x) + 1)
    assert module.twice(2) == 5
    assert (module.twice.__doc__, module.twice.best) == ("Doubles.", 3)


def test_wrap_reaches_names_that_fairseq_imported() -> None:
    from fairseq import checkpoint_utils, models
    from fairseq.models import distributed_fairseq_model

    assert checkpoint_utils.load_checkpoint_to_cpu.__wrapped__
    # The package holds a second reference to the function of its module.
    wrapped = models.DistributedFairseqModel
    assert distributed_fairseq_model.DistributedFairseqModel is wrapped


def test_stand_in_changes_one_name_for_one_importer() -> None:
    stand_in = StandIn(functools, reduce="other")
    assert stand_in.reduce == "other"
    assert stand_in.partial is functools.partial
    assert functools.reduce != "other"
