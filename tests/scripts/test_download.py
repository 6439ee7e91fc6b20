"""download.sh against a server of our own: checks, resuming, archives, files found, errors."""

import hashlib
import io
import json
import os
import re
import shutil
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest

from tests.scripts.mirror import Mirror
from tests.scripts.runs import SCRIPTS

HOST = "files.example"
BASE = f"https://{HOST}"


class Desk:
    """The script with a table of our own, a server, and the folder it downloads to."""

    def __init__(self, folder: Path, mirror: Mirror) -> None:
        self.scripts, self.out, self.mirror = folder / "scripts", folder / "out", mirror
        self.scripts.mkdir()
        for name in ("download.sh", "download_text.py"):
            shutil.copy(SCRIPTS / name, self.scripts)
        self.rows: list[str] = []

    def offer(
        self,
        name: str,
        file: str,
        content: bytes,
        folder: Optional[str] = None,
        proofs: str = "-",
        known: bool = True,
        by_hand: bool = False,
    ) -> None:
        """A row of the table, and the file on the server."""
        path = self.mirror.folder / HOST / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest() if known else "-"
        size = len(content) if known else "-"
        address = f"by-hand:{BASE}/get?id=1#{file}" if by_hand else f"{BASE}/{file}"
        row = f"group {name} {folder or name} {address} {size} {sha256} {proofs}\n"
        self.rows.append(row)
        (self.scripts / "downloads.txt").write_text("# made up\n" + "".join(self.rows))

    def run(self, *args: object, **env: object) -> "subprocess.CompletedProcess[str]":
        variables = {"RXF_MIRROR": self.mirror.address, **{k: str(v) for k, v in env.items()}}
        return subprocess.run(
            [str(self.scripts / "download.sh"), *map(str, args)],
            cwd="/",
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def get(self, name: str, **env: object) -> "subprocess.CompletedProcess[str]":
        done = self.run(name, self.out, **env)
        assert done.returncode == 0, done.stderr
        return done

    def refused(self, name: str, **env: object) -> str:
        done = self.run(name, self.out, **env)
        assert done.returncode == 1, done.stdout + done.stderr
        errors = [line for line in done.stderr.splitlines() if "error" in line]
        assert len(errors) == 1 and done.stderr.splitlines()[-1] == errors[0], done.stderr
        return errors[0]

    @property
    def ranges(self) -> list[Optional[str]]:
        return [wanted for _, wanted in self.mirror.asked]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Mirror(tmp_path / "server") as mirror:
        yield Desk(tmp_path, mirror)


def zipped(**files: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/"), text)
    return content.getvalue()


def tarred(files: dict[str, str], links: Optional[dict[str, str]] = None) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return content.getvalue()


def names(folder: Path) -> list[str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(folder)) for path in found)


# ------------------------------------------------------------------------- what is fetched


def test_an_archive_is_checked_and_unpacked_without_its_folder(desk: Desk) -> None:
    desk.offer("RTE", "RTE.zip", zipped(RTE__a="1", RTE__b__c="2"), "glue/RTE", "a,b/c")

    assert desk.get("RTE").stdout == f"RTE: {desk.out}/glue fetched\n"
    assert names(desk.out / "glue") == ["RTE/a", "RTE/b/c"]


def path_without(folder: Path, *hidden: str) -> str:
    """A PATH on which some commands are missing."""
    folder.mkdir()
    for directory in reversed(os.environ["PATH"].split(":")):
        for command in Path(directory).glob("*"):
            if command.name not in hidden:
                (folder / command.name).unlink(missing_ok=True)
                (folder / command.name).symlink_to(command)
    return str(folder)


def test_without_unzip(desk: Desk, tmp_path: Path) -> None:
    path = path_without(tmp_path / "bin", "unzip")
    desk.offer("RTE", "RTE.zip", zipped(RTE__a="1"), "glue/RTE", "a")
    desk.get("RTE", PATH=path)
    assert names(desk.out / "glue") == ["RTE/a"]

    desk.offer("bad", "bad.zip", zipped(**{"..__out.txt": "x"}), proofs="a")
    assert "leads out of its folder" in desk.refused("bad", PATH=path)


def test_without_curl(desk: Desk, tmp_path: Path) -> None:
    desk.offer("data", "data.bin", b"x")

    assert "curl is not installed" in desk.refused(
        "data", PATH=path_without(tmp_path / "b", "curl")
    )


def test_a_second_call_does_nothing(desk: Desk) -> None:
    desk.offer("model", "model.tar.gz", tarred({"m/model.pt": "x"}), proofs="model.pt", known=False)
    desk.get("model")
    asked = len(desk.mirror.asked)
    # Nobody needs the archive again.
    (desk.out / "model.tar.gz").unlink()
    desk.out.chmod(stat.S_IRUSR | stat.S_IXUSR)

    assert "is there" in desk.get("model").stdout
    assert len(desk.mirror.asked) == asked
    desk.out.chmod(stat.S_IRWXU)


def test_a_group_is_all_its_names(desk: Desk) -> None:
    desk.offer("one", "one.txt", b"1")
    desk.offer("two", "two.txt", b"2")

    desk.get("group")
    assert {"one/one.txt", "two/two.txt"} <= set(names(desk.out))


def test_a_cut_is_taken_up_where_it_was(desk: Desk) -> None:
    desk.offer("data", "data.bin", bytes(range(250)) * 4)
    desk.mirror.cut_after = 400

    desk.get("data")
    assert (desk.out / "data" / "data.bin").read_bytes() == bytes(range(250)) * 4
    assert desk.ranges == [None, "bytes=400-", "bytes=800-"]
    assert not list(desk.out.rglob("*.part"))


def test_a_call_that_was_killed_goes_on(desk: Desk) -> None:
    desk.offer("data", "data.bin", b"0123456789")
    (desk.out / "data").mkdir(parents=True)
    (desk.out / "data" / "data.bin.part").write_bytes(b"01234")

    desk.get("data")
    assert desk.ranges == ["bytes=5-"]


def test_all_had_been_fetched_when_it_was_killed(desk: Desk) -> None:
    desk.offer("model", "model.tar.gz", tarred({"m/model.pt": "x"}), proofs="model.pt", known=False)
    desk.out.mkdir()
    shutil.copy(desk.mirror.folder / HOST / "model.tar.gz", desk.out / "model.tar.gz.part")

    desk.get("model")
    assert (desk.out / "model" / "model.pt").read_text() == "x"


def test_a_server_that_sends_no_parts(desk: Desk) -> None:
    desk.offer("data", "data.bin", b"0123456789")
    desk.mirror.ranges = False
    (desk.out / "data").mkdir(parents=True)
    (desk.out / "data" / "data.bin.part").write_bytes(b"01234")

    desk.get("data")
    assert (desk.out / "data" / "data.bin").read_bytes() == b"0123456789"


# ------------------------------------------------------------------------- checks


def test_another_file_than_the_published_one(desk: Desk) -> None:
    desk.offer("data", "data.bin", b"published")
    (desk.mirror.folder / HOST / "data.bin").write_bytes(b"tampered ")

    line = desk.refused("data")
    assert "its sha256 is" in line and hashlib.sha256(b"published").hexdigest() in line
    assert names(desk.out) == [".download.lock"]


def test_an_unknown_checksum_is_kept_and_compared(desk: Desk) -> None:
    desk.offer("model", "model.tar.gz", tarred({"m/model.pt": "x"}), proofs="model.pt", known=False)
    told = desk.get("model").stderr
    sha256 = hashlib.sha256((desk.out / "model.tar.gz").read_bytes()).hexdigest()
    assert f"no published checksum; sha256 {sha256}" in told
    assert (desk.out / "model.tar.gz.sha256").read_text() == f"{sha256}  model.tar.gz\n"

    shutil.rmtree(desk.out / "model")
    (desk.out / "model.tar.gz").unlink()
    (desk.mirror.folder / HOST / "model.tar.gz").write_bytes(tarred({"m/model.pt": "y"}))
    assert f"was {sha256} before" in desk.refused("model")
    assert not (desk.out / "model").exists()


@pytest.mark.parametrize(
    "file, content, reason",
    [
        ("a.tar.gz", tarred({"../out.txt": "x"}), "leads out of its folder"),
        ("a.tar.gz", tarred({"/tmp/out.txt": "x"}), "leads out of its folder"),
        ("a.tar.gz", tarred({"m/a": "x"}, {"m/link": "/etc"}), "it holds a link or a device"),
        ("a.tar.gz", tarred({"m/a": "x" * 5000})[:-20], "it is cut short or damaged"),
        ("a.zip", zipped(**{"..__out.txt": "x"}), "leads out of its folder"),
        ("a.zip", zipped(m__a="x")[:-20], "it is cut short or damaged"),
    ],
    ids=["up", "absolute", "link", "cut tar", "zip up", "cut zip"],
)
def test_archives_that_are_not_unpacked(
    desk: Desk, tmp_path: Path, file: str, content: bytes, reason: str
) -> None:
    desk.offer("data", file, content, proofs="a", known=False)

    assert reason in desk.refused("data")
    assert names(desk.out) == [".download.lock"]
    assert not (tmp_path / "out.txt").exists()


def test_an_archive_of_something_else(desk: Desk) -> None:
    desk.offer("data", "a.zip", zipped(m__a="x"), proofs="a,b")

    assert "has not all of a, b" in desk.refused("data")


def test_what_else_is_in_the_folder_stays(desk: Desk) -> None:
    desk.offer("data", "a.zip", zipped(m__a="x"), proofs="a")
    (desk.out / "data").mkdir(parents=True)
    (desk.out / "data" / "notes.txt").write_text("mine")

    desk.get("data")
    assert names(desk.out / "data") == ["a", "notes.txt"]


# ------------------------------------------------------------------------- without a network


def test_no_network(desk: Desk) -> None:
    desk.offer("model", "model.tar.gz", b"x", proofs="model.pt")

    line = desk.refused("model", RXF_MIRROR="http://127.0.0.1:1")
    assert "http://127.0.0.1:1/files.example/model.tar.gz: no connection" in line
    assert f"fetch {BASE}/model.tar.gz by hand as {desk.out}/model.tar.gz" in line


def test_no_such_file_there(desk: Desk) -> None:
    desk.offer("data", "data.bin", b"x")
    (desk.mirror.folder / HOST / "data.bin").unlink()

    assert "HTTP 404" in desk.refused("data")
    assert names(desk.out) == [".download.lock"]


@pytest.mark.parametrize("place", ["out", "downloads", "downloads/folder"])
def test_a_file_that_was_fetched_by_hand(desk: Desk, tmp_path: Path, place: str) -> None:
    desk.offer("data", "a.zip", zipped(m__a="x"), "data", "a")
    folder = {"out": desk.out, "downloads": tmp_path / "d", "downloads/folder": tmp_path / "d/data"}
    folder[place].mkdir(parents=True)
    shutil.copy(desk.mirror.folder / HOST / "a.zip", folder[place])

    done = desk.get("data", RXF_DOWNLOADS=tmp_path / "d")
    assert f"taken from {folder[place]}/a.zip" in done.stderr
    assert (desk.out / "data" / "a").read_text() == "x"
    assert desk.mirror.asked == []


def test_a_wrong_file_that_was_fetched_by_hand_stays(desk: Desk) -> None:
    desk.offer("data", "a.zip", zipped(m__a="x"), "data", "a")
    desk.out.mkdir()
    (desk.out / "a.zip").write_bytes(b"another")

    assert f"{desk.out}/a.zip: its sha256 is" in desk.refused("data")
    assert (desk.out / "a.zip").read_bytes() == b"another"


def test_an_address_for_people_only(desk: Desk) -> None:
    desk.offer("tifu", "tifu.json", b"{}", by_hand=True)

    assert f"fetch {BASE}/get?id=1 by hand as {desk.out}/tifu.json" in desk.refused("tifu")
    (desk.out / "tifu.json").write_bytes(b"{}")
    desk.get("tifu")
    assert (desk.out / "tifu" / "tifu.json").read_bytes() == b"{}"
    assert desk.mirror.asked == []


# ------------------------------------------------------------------------- the command


def test_dry_run_only_tells(desk: Desk) -> None:
    desk.offer("data", "a.zip", b"x" * 2500, "glue/data", "a")
    desk.offer("model", "m.tar.gz", b"x", proofs="model.pt", known=False)

    done = desk.run("--dry-run", "group", desk.out)
    assert done.stdout.splitlines() == [
        f"{desk.mirror.address}/{HOST}/a.zip\t2 kB\t{desk.out}/glue/data",
        f"{desk.mirror.address}/{HOST}/m.tar.gz\tsize unknown\t{desk.out}/model",
    ]
    assert not desk.out.exists() and desk.mirror.asked == []


def test_no_argument_is_a_list() -> None:
    done = subprocess.run([SCRIPTS / "download.sh"], capture_output=True, text=True)

    assert done.returncode == 0
    listed = [line.split()[0] for line in done.stdout.splitlines()[1:]]
    assert {"RTE", "xnli", "gpt2_bpe", "roberta.large", "xlmr.large", "cnn_dm"} <= set(listed)


@pytest.mark.parametrize(
    "args, line",
    [
        (["rte"], "rte is not known"),
        (["--fast"], "unknown argument --fast"),
        (["RTE", "a", "b"], "b: one NAME and one DIR at most"),
        (["RTE", "/proc/none"], "DIR /proc/none: cannot be written to"),
    ],
    ids=str,
)
def test_wrong_arguments(args: list[str], line: str) -> None:
    done = subprocess.run([SCRIPTS / "download.sh", *args], capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"download: error: {line}")
    assert done.stderr.count("\n") == 1


def test_the_table() -> None:
    """Every row can be read, and nothing that looks like a checksum is anything else."""
    rows = [
        line.split()
        for line in (SCRIPTS / "downloads.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert len(rows) > 30
    for _, name, folder, address, size, sha256, proofs in rows:
        assert address.removeprefix("by-hand:").startswith("https://"), name
        assert size == "-" or int(size) > 0, name
        assert sha256 == "-" or (len(sha256) == 64 and int(sha256, 16)), name
        assert (size == "-") == (sha256 == "-"), name
        assert not folder.startswith("/") and proofs, name
    assert len({(row[2], row[3]) for row in rows}) == len(rows)


def test_the_page_names_what_there_is() -> None:
    listed = subprocess.run([SCRIPTS / "download.sh"], capture_output=True, text=True).stdout
    names_known = {line.split()[0] for line in listed.splitlines()[1:]} | {"glue"}
    page = (SCRIPTS.parent / "docs" / "downloads.md").read_text(encoding="utf-8")
    first_cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`([^`]+)`", "".join(first_cells))) == names_known


def test_the_shared_bpe_is_the_published_one(tmp_path: Path, shared_data: Path) -> None:
    done = subprocess.run(
        [SCRIPTS / "download.sh", "gpt2_bpe", tmp_path],
        env={**os.environ, "RXF_DOWNLOADS": str(shared_data), "RXF_MIRROR": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert names(tmp_path / "gpt2_bpe") == ["dict.txt", "encoder.json", "vocab.bpe"]


# ------------------------------------------------------------------------- what is made


def test_mrpc_is_split_by_its_list(desk: Desk) -> None:
    header = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n"
    rows = [f'{n % 2}\t{n}\t{n + 100}\tone "{n}\ttwo {n}\r\n' for n in range(4)]
    train = (header + "".join(rows)).encode()
    test = (header + "".join(rows[:2])).encode()
    folder = "glue/MRPC/original"
    desk.offer("MRPC", "msr_paraphrase_train.txt", train, folder)
    desk.offer("MRPC", "msr_paraphrase_test.txt", test, folder)
    desk.offer("MRPC", "mrpc_dev_ids.tsv", b"1\t101\n3\t999\n", folder)

    desk.get("MRPC")
    made = {name: (desk.out / "glue/MRPC" / f"{name}.tsv").read_text() for name in ("train", "dev")}
    plain = header.strip("\ufeff\r\n") + "\n"
    cleaned = [row.replace("\r", "") for row in rows]
    assert made["train"] == plain + cleaned[0] + cleaned[2] + cleaned[3]
    assert made["dev"] == plain + cleaned[1]
    assert (desk.out / "glue/MRPC/test.tsv").read_text() == (
        "index\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
        '0\t0\t100\tone "0\ttwo 0\n1\t1\t101\tone "1\ttwo 1\n'
    )


def test_cnn_dm_is_made_of_stories_and_lists(desk: Desk) -> None:
    stories = {"train": ("cnn", "a"), "val": ("dailymail", "b"), "test": ("cnn", "c")}
    archives: dict[str, dict[str, str]] = {"cnn": {}, "dailymail": {}}
    for split, (site, name) in stories.items():
        address = f"http://{site}/{name}"
        file = hashlib.sha1(address.encode()).hexdigest() + ".story"
        archives[site][f"{site}/stories/{file}"] = (
            f"A caption of {name}\n\nHe said \u2018so.\u2019\n\n@highlight\n\nFirst {name}\n\n"
            "@highlight\n\nSecond?\n"
        )
        desk.offer("cnn_dm", f"all_{split}.txt", f"{address}\n".encode(), "cnn_dm/original")
    for site, files in archives.items():
        content = tarred({name: text for name, text in files.items()})
        desk.offer("cnn_dm", f"{site}_stories.tgz", content, f"cnn_dm/original/{site}", "stories")

    desk.get("cnn_dm")
    for split, (_, name) in stories.items():
        made = desk.out / "cnn_dm" / split
        source = made.with_suffix(".source").read_text(encoding="utf-8")
        assert source == f"A caption of {name}. He said \u2018so.\u2019\n"
        assert made.with_suffix(".target").read_text() == f"First {name}. Second?\n"
    assert "is there" in desk.get("cnn_dm").stdout


def test_scitldr_is_made_of_its_lines(desk: Desk) -> None:
    paper = {"paper_id": "p", "source": ["One  line.", "Two."], "target": ["Short.", "Other. "]}
    for split in ("train", "dev", "test"):
        content = (json.dumps(paper) + "\n").encode()
        desk.offer("scitldr", f"{split}.jsonl", content, "scitldr/original")

    desk.get("scitldr")
    made = desk.out / "scitldr"
    assert (made / "dev.source").read_text() == "One line. Two.\n"
    assert (made / "dev.target").read_text() == "Short.\n"
    assert json.loads((made / "dev.refs.jsonl").read_text())["target"] == paper["target"]


def test_gigaword_is_made_of_its_archive(desk: Desk) -> None:
    made = [f"{split}.{side}.txt" for split in ("train", "dev", "test") for side in ("src", "tgt")]
    content = zipped(**{f"org_data__{name}": f"{name} <unk>\n" for name in made})
    folder, proofs = "gigaword/original", ",".join(made)
    desk.offer("gigaword", "gigaword.zip", content, folder, proofs, by_hand=True)
    desk.out.mkdir()
    shutil.copy(desk.mirror.folder / HOST / "gigaword.zip", desk.out)

    desk.get("gigaword")
    assert (desk.out / "gigaword" / "dev.source").read_text() == "dev.src.txt UNK\n"
    assert (desk.out / "gigaword" / "test.target").read_text() == "test.tgt.txt UNK\n"
