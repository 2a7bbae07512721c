# @title Install the library (keeps the torch that is here) and check it. Run it again after any failure.
import importlib
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

REPOSITORY = ""
DRIVE = Path("/content/drive")
LOADED_ONCE = ("torch", "numpy", "scipy", "pandas", "transformers", "tokenizers")  # a session keeps what it loaded
HELP = (
    "Ask your teacher for colab-kit.zip (made by `make colab-kit`), put its wheel, semanticbm-...whl, beside this "
    "notebook, into your Drive or into the upload dialog, and run this cell again."
)


def is_installed():
    """True if the package can be imported; an empty folder of its name does not count."""
    importlib.invalidate_caches()
    found = find_spec("semanticbm")
    return found is not None and found.origin is not None


def pip(what, keep):
    """Install, with the versions of `keep` unchanged. Returns what pip said if it failed, else ""."""
    Path("keep.txt").write_text("".join(f"{name}=={version(name)}\n" for name in keep))
    command = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "20"]
    done = subprocess.run([sys.executable, *command, "--constraint", "keep.txt", what], capture_output=True, text=True)
    Path("keep.txt").unlink()
    return (done.stderr + done.stdout).strip() or "pip failed" if done.returncode else ""


def install(place, what):
    """Install from one place, and say how it went; torch and numpy change only if they have to."""
    present = [name for name in ("torch", "numpy") if find_spec(name)]
    said = pip(what, present)
    if "conflict" in said or "ResolutionImpossible" in said:
        said = pip(what, ())
    errors = [line for line in said.splitlines() if "ERROR" in line or "error" in line] or said.splitlines()
    print(f"{place}: " + ("installed" if is_installed() else f"no ({errors[0] if errors else 'nothing came'})"))


def wheels(*folders):
    """The newest wheel in some folders, or one level below; none if there is none."""
    found = [path for folder in folders for pattern in ("*", "*/*") for path in folder.glob(f"{pattern}.whl")]
    found = [path for path in found if path.name.startswith("semanticbm-")]
    return sorted(found, key=lambda path: path.stat().st_mtime)[-1:]


def from_address():
    """The project's own address: a git repository, or a file that pip can install."""
    is_file = REPOSITORY.endswith((".whl", ".zip", ".tar.gz"))
    if REPOSITORY:
        install("the project's address", f"semanticbm[offline] @ {'' if is_file else 'git+'}{REPOSITORY}")


def from_index():
    """The package index."""
    install("the package index", "semanticbm[offline]")


def from_wheel_here():
    """A wheel beside the notebook."""
    for path in wheels(Path.cwd()):
        install(path.name, f"{path}[offline]")


def from_drive():
    """A wheel in the reader's Drive, which Colab asks for."""
    from google.colab import drive

    drive.mount(str(DRIVE))
    for path in wheels(DRIVE / "MyDrive"):
        install(f"{path.name} in Drive", f"{path}[offline]")


def from_upload():
    """A wheel that the reader picks in a dialog."""
    from google.colab import files

    for name in files.upload():
        install(name, f"{Path(name).resolve()}[offline]")


for source in (from_address, from_index, from_wheel_here, from_drive, from_upload):
    if not is_installed():
        try:
            source()
        except Exception as error:
            print(f"{source.__doc__.rstrip('.').lower()}: no ({type(error).__name__}: {error})")

if not is_installed():
    raise SystemExit(f"The library could not be installed. {HELP}")
old = [name for name in LOADED_ONCE if name in sys.modules and sys.modules[name].__version__ != version(name)]
if old:
    raise SystemExit(f"Restart the session (menu Runtime), then run this cell again: {', '.join(old)} changed on disk.")
doctor = subprocess.run(
    [sys.executable, "-m", "semanticbm", "doctor"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
)
print(doctor.stdout)
