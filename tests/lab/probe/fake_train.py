"""Stands in for fairseq-train: a log, and checkpoints that are the start file with a mark.

The mark is added to a weight, so that whoever starts from it can be seen to have done so.
"""

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--finetune-from-model")
    parser.add_argument("--save-dir", type=Path)
    parser.add_argument("--criterion")
    parser.add_argument("--seed", type=int)
    args, _ = parser.parse_known_args()
    with (args.save_dir / "started").open("a") as file:
        file.write("x")
    if "fail" in args.data:
        print("RuntimeError: as it was told")
        return 1
    time.sleep(0.15)
    best = args.save_dir / "checkpoint_best.pt"
    trail = Path(args.finetune_from_model + ".trail")
    told = json.loads(trail.read_text()) if trail.is_file() else []
    told.append(f"{Path(args.data).name}:{args.criterion}:{args.seed}")
    (args.save_dir / "encoder.pt.trail").write_text(json.dumps(told))
    # Other bytes for another history, without reading what the file means.
    digest = hashlib.sha256(json.dumps(told).encode()).digest()
    best.write_bytes(Path(args.finetune_from_model).read_bytes() + digest)
    print(
        '2026-01-01 10:00:00 | INFO | valid | {"epoch": 1, "valid_accuracy": "60", '
        '"valid_num_updates": "4"}'
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
