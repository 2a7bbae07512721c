"""The kernel that runs the chapters: this Python, whatever kernels Jupyter finds on the machine.

A kernel named python3 may belong to another environment, which lacks the library or holds another version of it. So the
preview does not look a kernel up, and for Quarto the same description is put where Jupyter looks first.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from traitlets import default

from semanticbm.loading.files import write_text

NAME = "python3"
# Without the last argument each kernel warns that it listens on a local port.
COMMAND = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--IPKernelApp.log_level=ERROR"]


class ThisPython(KernelSpecManager):
    """Knows one kernel."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The kernel, by whatever name."""
        return KernelSpec(argv=COMMAND, display_name="Python of the book", language="python")


class BookKernel(AsyncKernelManager):
    """Starts the kernel of `ThisPython`."""

    @default("kernel_spec_manager")
    def _only_this_python(self) -> ThisPython:
        return ThisPython()


def write_kernel_spec(folder: Path) -> Path:
    """Describe the kernel below `folder`, for a JUPYTER_PATH that leads there; return `folder`."""
    file = folder / "kernels" / NAME / "kernel.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps({"argv": COMMAND, "display_name": "Python of the book", "language": "python"}))
    return folder
