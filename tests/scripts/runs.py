"""Running the shell scripts, and interpreters that only pretend."""

import os
import subprocess
from pathlib import Path
from typing import Optional

from tests.support import REPO

SCRIPTS = REPO / "scripts"


def run_script(
    name: str,
    *args: object,
    env: Optional[dict[str, str]] = None,
    timeout: float = 60,
) -> "subprocess.CompletedProcess[str]":
    """Run ``scripts/NAME`` from the root folder, to see that it needs no other."""
    return subprocess.run(
        [str(SCRIPTS / name), *map(str, args)],
        cwd="/",
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def fails_with(name: str, *args: object, env: Optional[dict[str, str]] = None) -> str:
    """The one line with which the script ends when it cannot go on."""
    done = run_script(name, *args, env=env)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.strip()


def pretend_python(path: Path, version: str, include: Path = Path("/nowhere")) -> Path:
    """An interpreter that answers the questions of find_python.sh and setup.sh, no others."""
    short = version.rsplit(".", 1)[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "#!/bin/sh\n"
        'case "$2" in\n'
        '  *sys.executable*) echo "$0" ;;\n'
        f"  *%d.%d.%d*) echo {version} ;;\n"
        f"  *%d.%d*) echo {short} ;;\n"
        f"  *sysconfig*) echo {include} ;;\n"
        "  *) exit 1 ;;\n"
        "esac\n"
    )
    path.chmod(0o755)
    return path
