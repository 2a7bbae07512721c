"""The lock around a student's process: bubblewrap, a small program of every Linux distribution.

Inside, the student's code sees the interpreter, its libraries and a copy of its own exercise files, all read-only; an
empty /proc; a small /tmp as the only place to write (/scratch, where a library lies below /tmp); no network, no other
processes, no capabilities. Of `semanticbm.grading` only the folder `child` is there. A list of system calls that no exercise
needs is closed: starting processes, mounting, tracing, memory that no limit counts.

Without bubblewrap (macOS, Windows, or not installed) a student's code runs as any program of the user does. That is fine for
one's own answers, and for nobody else's.

When it misleads: a sandbox shares the kernel with the machine. It is as good as the kernel is.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import struct
import subprocess
import sys
import sysconfig
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import semanticbm

PACKAGE = Path(semanticbm.__file__).resolve().parent
INSIDE = "/answers"  # where a student's files are in the sandbox
TMP_BYTES = 50_000_000
NOBODY = 65534
SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo", "/nix/store")
READABLE = ("/proc/cpuinfo", "/proc/meminfo")
PACKAGES = ("torch", "numpy", "scipy", "transformers")  # a folder that holds one of them is a folder of packages
DEVICES = ("/dev/null", "/dev/urandom")
WAYS_OUT = (
    "Two ways out: install it (Debian, Ubuntu: apt install bubblewrap; Fedora: dnf install bubblewrap), "
    "or use the container of the teachers' appendix."
)
START = (
    "import json, sys; settings = json.loads(sys.argv[1]); sys.path[:0] = settings['path']; "
    "from semanticbm.grading.child.main import main; main()"
)


# --------------------------------------------------------------------------------------------------------------------
# What is in view


def library_folders() -> list[str]:
    """The folders from which this interpreter imports installed packages, whatever they are called."""
    places = [os.path.realpath(place) for place in sys.path if place]
    return list(dict.fromkeys(place for place in places if _holds_packages(Path(place))))


def _holds_packages(folder: Path) -> bool:
    return folder.name in ("site-packages", "dist-packages") or any((folder / name).exists() for name in PACKAGES)


def _linked_packages(folder: str) -> list[str]:
    """Where the links in a folder of packages lead: some installers keep one copy of a package for all environments."""
    return [os.path.realpath(entry.path) for entry in os.scandir(folder) if entry.is_symlink()]


def interpreter() -> str:
    """The Python binary itself, not the link to it in a virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def import_path() -> list[str]:
    """`sys.path` of the student's process, in front of the standard library."""
    folders = library_folders()
    return folders if str(PACKAGE.parent) in folders else [str(PACKAGE.parent), *folders]


@cache
def _shown() -> tuple[str, ...]:
    """The files and folders in view, read-only: the interpreter, the libraries and this package. Looked up once a process."""
    shown = [*SYSTEM, sysconfig.get_paths()["stdlib"], os.path.join(sys.base_prefix, "lib"), interpreter()]
    linked = [place for folder in library_folders() for place in _linked_packages(folder)]
    return tuple(dict.fromkeys([*shown, *library_folders(), *linked, str(PACKAGE)]))


def _view(hidden: tuple[str, ...]) -> list[str]:
    """bwrap's options for what is in view. `hidden`: places that must not be, even below a folder that is."""
    shown = _shown()
    options = [option for place in (*shown, *READABLE) for option in ("--ro-bind-try", place, place)]
    for folder in import_path():
        grading = os.path.join(folder, "semanticbm", "grading")
        if os.path.isdir(grading):
            options += ["--tmpfs", grading]
            options += ["--ro-bind-try", f"{grading}/child", f"{grading}/child", "--remount-ro", grading]
    for place in hidden:
        if any(Path(place).is_relative_to(one) for one in shown):
            options += ["--tmpfs", place, "--remount-ro", place]
    return options


# --------------------------------------------------------------------------------------------------------------------
# System calls

# number of: clone, clone3, mmap; then fork, vfork, ptrace, mount, umount2, pivot_root, chroot, unshare, setns, bpf,
# perf_event_open, userfaultfd, keyctl, add_key, request_key, process_vm_readv, process_vm_writev, io_uring_setup,
# io_uring_enter, io_uring_register, open_by_handle_at, kexec_load, init_module, finit_module, memfd_create, shmget,
# personality, mq_open
CALLS = {
    "x86_64": (0xC000003E, 56, 435, 9)
    + (57, 58, 101, 165, 166, 155, 161, 272, 308, 321, 298, 323, 250, 248, 249, 310, 311)
    + (425, 426, 427, 304, 246, 175, 313, 319, 29, 135, 240),
    "aarch64": (0xC00000B7, 220, 435, 222)
    + (117, 40, 39, 41, 51, 97, 268, 280, 241, 282, 219, 217, 218, 270, 271)
    + (425, 426, 427, 265, 104, 105, 273, 279, 194, 92, 180),
}
LOAD, EQUAL, SET, ABOVE, AND, RETURN = 0x20, 0x15, 0x45, 0x35, 0x54, 0x06
ALLOW, NOT_PERMITTED, NOT_THERE, NO_MEMORY = 0x7FFF0000, 0x00050001, 0x00050026, 0x0005000C
NUMBER, MACHINE, FIRST_ARGUMENT, FOURTH_ARGUMENT = 0, 4, 16, 40
THREAD, SHARED_AND_ANONYMOUS = 0x10000, 0x21


@cache
def filter_of_calls(machine: str) -> bytes:
    """The program in the kernel's filter language (seccomp) that refuses the calls above; empty for other machines.

    `clone` may start threads, no processes. `mmap` may not make shared memory, which no limit counts.
    """
    if machine not in CALLS:
        return b""
    architecture, clone, clone3, mmap, *refused = CALLS[machine]
    program = [(LOAD, 0, 0, MACHINE), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, NOT_PERMITTED), (LOAD, 0, 0, NUMBER)]
    program += [(ABOVE, 0, 1, 0x40000000), (RETURN, 0, 0, NOT_PERMITTED)]  # the x32 names of the same calls
    for call in refused:
        program += [(EQUAL, 0, 1, call), (RETURN, 0, 0, NOT_PERMITTED)]
    program += [(EQUAL, 0, 1, clone3), (RETURN, 0, 0, NOT_THERE)]  # the C library then uses clone
    program += [(EQUAL, 0, 4, mmap), (LOAD, 0, 0, FOURTH_ARGUMENT), (AND, 0, 0, SHARED_AND_ANONYMOUS)]
    program += [(EQUAL, 0, 5, SHARED_AND_ANONYMOUS), (RETURN, 0, 0, NO_MEMORY)]
    program += [(EQUAL, 0, 3, clone), (LOAD, 0, 0, FIRST_ARGUMENT), (SET, 1, 0, THREAD), (RETURN, 0, 0, NOT_PERMITTED)]
    program += [(RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("=HBBI", *step) for step in program)


# --------------------------------------------------------------------------------------------------------------------
# Starting


@dataclass(frozen=True)
class Sandbox:
    """How a student's process is started. `program`: the path of bwrap, or empty; `reason`: why there is no sandbox.

    `hidden`: places that must not be in view. `user`: without a sandbox, the number of another user to run as.
    """

    program: str = ""
    reason: str = ""
    hidden: tuple[str, ...] = ()
    user: int | None = None

    @property
    def locked(self) -> bool:
        """Whether students' code is shut in."""
        return bool(self.program)

    @property
    def room(self) -> str:
        """The only place to write: /tmp, or another where a library is installed below /tmp and would be covered."""
        below = any(Path(place).is_relative_to("/tmp") for place in _shown())
        return "/scratch" if below else "/tmp"

    @property
    def first_line(self) -> str:
        """What a report says about it, first of all."""
        if self.locked:
            return "Students' code runs in a sandbox (bubblewrap)."
        power = "can do all that you can" if self.user is None else "runs as the user nobody"
        return f"No sandbox: {self.reason} Students' code {power}."

    def start(self, folder: Path, limits) -> subprocess.Popen:
        """Start the process for the files in `folder`."""
        place = INSIDE if self.locked else str(folder)
        if self.user is not None:
            os.chown(folder, self.user, self.user)
        settings = {"folder": place, "path": import_path()}
        settings |= {name: getattr(limits, name) for name in ("seconds", "output", "memory", "file_size")}
        command = [interpreter(), "-I", "-S", "-B", "-c", START, json.dumps(settings)]
        return self.run(command, folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def run(self, command: list[str], folder: Path, **pipes) -> subprocess.Popen:
        """Start any command in the sandbox, or as it is."""
        environment = _environment(self.room if self.locked else str(folder))
        if not self.locked:
            other = {} if self.user is None else {"user": self.user, "group": self.user, "extra_groups": ()}
            return subprocess.Popen(command, env=environment, cwd=folder, start_new_session=True, **other, **pipes)
        calls = _pipe_with(filter_of_calls(platform.machine()))
        try:
            command = [self.program, *self._options(folder, calls), "--", *command]
            return subprocess.Popen(command, env=environment, pass_fds=calls, start_new_session=True, **pipes)
        finally:
            for descriptor in calls:
                os.close(descriptor)

    def _options(self, folder: Path, calls: list[int]) -> list[str]:
        room = ["--size", str(TMP_BYTES), "--tmpfs", self.room] if _knows_sizes(self.program) else []
        devices = [option for place in DEVICES for option in ("--dev-bind", place, place)]
        return [
            *("--unshare-all", "--unshare-user", "--uid", "65534", "--gid", "65534", "--hostname", "sandbox"),
            *("--new-session", "--die-with-parent", "--cap-drop", "ALL"),
            *_view(self.hidden),
            *devices,
            *("--ro-bind", str(folder), INSIDE, *room, "--remount-ro", "/", "--chdir", INSIDE),
            *(option for descriptor in calls for option in ("--seccomp", str(descriptor))),
        ]


def _environment(home: str) -> dict[str, str]:
    """Nothing of the teacher's environment but what Windows needs to start a program."""
    kept = {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}
    quiet = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "LANG": "C.UTF-8"}
    return kept | quiet | {"HOME": home, "TMPDIR": home, "MPLCONFIGDIR": home, "USER": "student", "LOGNAME": "student"}


def _pipe_with(content: bytes) -> list[int]:
    """A pipe from which `content` can be read: its reading end, in a list; an empty list for no content."""
    if not content:
        return []
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    return [reading]


@cache
def _knows_sizes(program: str) -> bool:
    """Whether this bubblewrap can limit a folder's size (0.7 and newer). Without that there is no place to write."""
    return "--size" in subprocess.run([program, "--help"], capture_output=True, text=True).stdout


def find_sandbox(hidden: tuple[Path, ...] = ()) -> Sandbox:
    """The sandbox of this machine, tried out, or none with the reason. `hidden`: folders that no student may see."""
    if not sys.platform.startswith("linux"):
        return Sandbox(reason="bubblewrap needs Linux.")
    program = shutil.which("bwrap")
    if not program:
        return _as_another_user(Sandbox(reason="bubblewrap (bwrap) is not installed."))
    sandbox = Sandbox(program, hidden=tuple(os.path.realpath(place) for place in hidden))
    problem = start_problem(sandbox)
    if not problem:
        return sandbox
    return _as_another_user(Sandbox(reason=f"bubblewrap is installed but does not work here: {problem}"))


def _as_another_user(bare: Sandbox) -> Sandbox:
    """Root runs students' code as nobody, if nobody can read the interpreter, the libraries and this package."""
    other = replace(bare, user=NOBODY)
    return other if os.geteuid() == 0 and not start_problem(other) else bare


def start_problem(sandbox: Sandbox) -> str:
    """Start the interpreter and import what answers calls; what went wrong, in a line, or an empty text."""
    code = f"import sys; sys.path[:0] = {import_path()!r}; import semanticbm.grading.child.main"
    command, folder = [interpreter(), "-I", "-S", "-c", code], PACKAGE / "grading" / "child"
    try:
        process = sandbox.run(command, folder, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    except OSError as error:
        return f"{error.strerror}."
    with suppress(subprocess.TimeoutExpired):
        _, text = process.communicate(timeout=60)
        lines = text.decode("utf-8", "replace").strip().splitlines()
        return "" if process.returncode == 0 else f"{lines[-1] if lines else 'no message'}."
    process.kill()
    return "it does not answer."
