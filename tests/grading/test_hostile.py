"""Hostile files, graded together with an honest student: each costs what it says, and nothing outside changes.

Every file in `hostile/` has two lines at its top: what it does, and what it must cost: `idf` (that exercise and nothing
else), `file` (all of its file), `owner` (at least that exercise, perhaps more of the same student), `nothing`. The word
`time` after it says that the file works until it is stopped. It is put behind the right answers of chapter 1. A file that
gets out raises an error with the word ESCAPED, or changes a canary.
"""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from grade_course import SHORT

import semanticbm
from semanticbm.grading import of_chapter
from semanticbm.grading.folders import Submission
from semanticbm.grading.runner import grade_student
from semanticbm.grading.sandbox import Sandbox, find_sandbox, interpreter

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SOLUTIONS = ROOT / "tests" / "solutions"
GOOD = (SOLUTIONS / "ex1_bm25.py").read_text(encoding="utf-8")
FILES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((HERE / "hostile").glob("*.py"))}
COSTS = {name: re.search(r"^# costs: (.*)$", text, re.M)[1].split() for name, text in FILES.items()}
NEEDS = {"pyarrow": "pyarrow", "torch_save": "torch"}
SAMPLE = ("numpy_save", "ctypes_open", "overwrites_another", "writes_into_packages", "reads_secrets", "fork_by_c", "kills",
          "connects_by_c", "loops_and_catches", "eats_memory", "eats_shared_memory", "fills_the_disk")  # fmt: skip
SANDBOX = find_sandbox()
GUARD = "import os as _os\nif _os.getcwd() != '/answers': raise SystemExit('not in the sandbox')\n"

pytestmark = pytest.mark.skipif(not SANDBOX.locked, reason=f"no sandbox here: {SANDBOX.reason}")


class Canaries:
    """What must not change: a file, another student's file, a process, a server without visitors, the installed package."""

    def __init__(self, place: Path):
        self.file, self.other = place / "canary.txt", place / "course" / "honest" / "ex1_bm25.py"
        self.file.write_text("alive", encoding="utf-8")
        self.process = subprocess.Popen(["sleep", "100000"])
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(0)
        self.installed = self._installed()

    def header(self) -> str:
        """The names by which a hostile file finds them."""
        values = {"CANARY": str(self.file), "OTHER": str(self.other), "REFERENCE": str(SOLUTIONS / "ex1_bm25.py")}
        values |= {"PORT": self.server.getsockname()[1], "PROCESS": self.process.pid}
        return GUARD + "".join(f"{name} = {value!r}\n" for name, value in values.items())

    def _installed(self) -> str:
        import numpy

        files = [*Path(semanticbm.__file__).parent.rglob("*.py"), *SOLUTIONS.rglob("*.py"), Path(numpy.__file__)]
        return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()

    def alive(self) -> dict[str, bool]:
        """{canary: it is as it was}."""
        try:
            self.server.accept()
            quiet = False
        except BlockingIOError:
            quiet = True
        return {
            "file": self.file.read_text(encoding="utf-8") == "alive" and not Path(f"{self.file}.db").exists(),
            "other student": self.other.read_text(encoding="utf-8") == GOOD,
            "process": self.process.poll() is None,
            "server": quiet,
            "installed": self._installed() == self.installed,
        }

    def close(self) -> None:
        """End the process and the server."""
        self.process.kill()
        self.process.wait()
        self.server.close()


def is_there(name: str) -> bool:
    return name not in NEEDS or importlib.util.find_spec(NEEDS[name]) is not None


def make_course(place: Path, names: list[str]) -> Canaries:
    """A folder for each hostile file, and an honest student with files called like libraries."""
    course = place / "course"
    (course / "honest").mkdir(parents=True)
    (course / "honest" / "ex1_bm25.py").write_text(GOOD, encoding="utf-8")
    for name in ("numpy", "semanticbm", "pytest", "torch", "json"):
        (course / "honest" / f"{name}.py").write_text("raise SystemExit('shadow')\n", encoding="utf-8")
    canaries = Canaries(place)
    for name in names:
        (course / name).mkdir()
        text = f"{GOOD}\n\n{canaries.header()}\n\n{FILES[name]}"
        (course / name / "ex1_bm25.py").write_text(text, encoding="utf-8")
    for folder in course.iterdir():
        shutil.copy(SOLUTIONS / "ex3_attention_head.py", folder)
    return canaries


def graded(place: Path, names: list[str], prefix: tuple[str, ...] = ()) -> dict:
    """{student: {exercise: entry}} of a course, graded by a process of its own; the canaries are looked at afterwards."""
    canaries = make_course(place, names)
    environment = os.environ | {"SEMANTICBM_SECRET": "x", "XDG_CACHE_HOME": str(place), "PYTHONPATH": str(ROOT)}
    command = [*prefix, sys.executable, str(HERE / "grade_course.py"), str(place / "course"), str(place / "out.json")]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500)
        assert done.returncode == 0, done.stderr
        alive = canaries.alive()
    finally:
        canaries.close()
    assert all(alive.values()), alive
    entries = json.loads((place / "out.json").read_text(encoding="utf-8"))
    return {entry["student"]: {one["id"]: one for one in entry["exercises"]} for entry in entries}


def assert_cost(results: dict, costs: list[str]) -> None:
    """What a hostile file lost is what it must cost, and its messages show no escape."""
    messages = "\n".join(one["message"] for one in results.values())
    assert "ESCAPED" not in messages, messages
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", messages)
    own = {one.id for one in of_chapter(1)}
    full = {name for name, one in results.items() if one["points"] == one["max_points"]}
    hit = {"idf": {"ex1_bm25.idf"}, "file": own, "owner": {"ex1_bm25.idf"}, "nothing": set()}[costs[0]]
    assert not full & hit, f"it should have cost {hit & full}"
    if costs[0] != "owner":
        others = own | {one.id for one in of_chapter(3)}
        assert others - hit <= full, {name: results[name]["message"] for name in others - hit - full}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return graded(tmp_path_factory.mktemp("all"), [name for name in FILES if is_there(name)])


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_costs_what_it_says_and_nothing_else(results, name):
    if not is_there(name):
        pytest.skip(f"needs {NEEDS[name]}")
    assert_cost(results[name], COSTS[name])


def test_the_honest_student_loses_nothing(results):
    assert_cost(results["honest"], ["nothing"])


def test_there_are_enough_of_them():
    assert len(FILES) >= 40 and all(text.startswith("# ") for text in FILES.values())
    assert {costs[0] for costs in COSTS.values()} <= {"idf", "file", "owner", "nothing"}


def test_the_messages_say_what_happened(results):
    said = {name: one["ex1_bm25.idf"]["message"] for name, one in results.items()}
    assert f"more than {SHORT.seconds} seconds" in said["loops"] and "ran too long" in said["blocks_the_alarm"]
    assert "ended in the middle" in said["exits"] and "printed more than" in said["prints_without_end"]
    assert "no answer" in said["claims_a_long_frame"] and "does not import" in said["syntax_error"]
    assert "Errno" in said["reads_another"] and "more calls" not in said["loops"]


ORDINARY = (
    "bwrap",
    "--bind",
    "/",
    "/",
    "--dev-bind",
    "/dev",
    "/dev",
    "--unshare-user",
    "--uid",
    "1000",
    "--gid",
    "1000",
)


def test_an_ordinary_user_is_as_safe(tmp_path):
    """The same for a user without any privilege: user 1000 of a user namespace, without capabilities."""
    if os.geteuid() != 0:
        pytest.skip("the other tests of this file run as an ordinary user already")
    who = subprocess.run([*ORDINARY, "id", "-u"], capture_output=True, text=True)
    if who.stdout.strip() != "1000":
        pytest.skip(f"no user namespaces here: {who.stderr.strip()}")
    found = graded(tmp_path, list(SAMPLE), (*ORDINARY, "--"))
    for name in SAMPLE:
        assert_cost(found[name], COSTS[name])
    assert_cost(found["honest"], ["nothing"])


def test_without_the_lock_the_canary_would_change(tmp_path):
    """The control: a harmless one of the hostile files does get out where there is no sandbox."""
    (tmp_path / "student").mkdir()
    canary = tmp_path / "canary.bin"
    text = f"{GOOD}\n\nCANARY = {str(canary)!r}\n\n{FILES['numpy_save']}"
    (tmp_path / "student" / "ex1_bm25.py").write_text(text, encoding="utf-8")
    grade_student(Submission("x", tmp_path / "student"), sandbox=SANDBOX)
    assert not canary.exists()
    grade_student(Submission("x", tmp_path / "student"), sandbox=Sandbox())
    assert canary.exists()


# --------------------------------------------------------------------------------------------------------------------
# What is in view


def look(code: str, hidden: tuple[str, ...] = ()) -> str:
    """What a line of Python prints inside the sandbox."""
    sandbox = Sandbox(SANDBOX.program, hidden=hidden)
    process = sandbox.run([interpreter(), "-I", "-S", "-c", code], HERE / "hostile", stdout=subprocess.PIPE)
    return process.communicate(timeout=120)[0].decode()


def test_the_view_has_no_checks_no_references_and_no_other_folders():
    grading = Path(semanticbm.__file__).parent / "grading"
    code = (
        "import os, sys; print([[os.path.join(f, n) for f, _, ns in os.walk(place) for n in ns] for place in PLACES])"
    )
    places = [str(grading), str(ROOT / "tests"), str(ROOT / "exercises"), "/proc", "/etc", "/home", "/var"]
    seen = look(code.replace("PLACES", repr(places)))
    assert "protocol.py" in seen and "/proc/meminfo" in seen
    for name in ("checks", "case.py", "registry", "answer.py", "hooks", "solutions", "passwd", "ex1_bm25"):
        assert name not in seen, name


def test_the_view_is_read_only_but_for_a_small_tmp():
    room = find_sandbox().room
    code = (
        "import os\nfound = []\n"
        "for folder, _, _ in os.walk('/'):\n"
        "    if folder.count('/') < 7:\n"
        "        try: os.close(os.open(folder + '/probe', os.O_CREAT | os.O_WRONLY)); found.append(folder)\n"
        "        except OSError: pass\n"
        f"print(found, os.statvfs({room!r}).f_blocks * os.statvfs({room!r}).f_frsize)"
    )
    assert look(code).split() == [f"[{room!r}]", "50003968"]


def test_a_graded_folder_below_a_visible_one_is_hidden(tmp_path):
    place = str(Path(semanticbm.__file__).parent / "study")
    assert look(f"import os; print(len(os.listdir({place!r})) > 0)") == "True\n"
    assert look(f"import os; print(os.listdir({place!r}))", (place,)) == "[]\n"


def test_there_are_no_capabilities_and_no_network():
    code = (
        "import ctypes, socket; header = (ctypes.c_uint32 * 2)(0x20080522, 0); sets = (ctypes.c_uint32 * 6)();"
        "print(ctypes.CDLL(None).capget(header, sets), any(sets), [name for _, name in socket.if_nameindex()])"
    )
    assert look(code) == "0 False ['lo']\n"
