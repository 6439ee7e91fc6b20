"""Which checkpoints a probe looks at."""

import argparse
import json
from pathlib import Path

from rxf.lab.checkpoints import add_checkpoint_arguments, checkpoints_of


def test_a_record_beside_the_file_outweighs_the_name(tmp_path: Path) -> None:
    record = {"task": "SST-2", "method": "r3f", "seed": 7, "status": "finished"}
    for folder, facts in (("told", record), ("silent", {"status": "finished"})):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "run.json").write_text(json.dumps(facts))
        (tmp_path / folder / "model.pt").touch()
    parser = argparse.ArgumentParser()
    add_checkpoint_arguments(parser)
    words = ["--pretrained", str(tmp_path / "told" / "model.pt")]
    for name, folder in (("smart/2", "told"), ("smart/3", "silent")):
        words += ["--checkpoint", f"{name}={tmp_path / folder / 'model.pt'}"]
    _, told, silent = checkpoints_of(parser.parse_args(words))
    assert told[2:] == ("r3f", 7, "SST-2") and told.name == "smart/2"
    assert silent[2:] == ("smart", 3, None)
