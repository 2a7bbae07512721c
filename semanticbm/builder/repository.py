"""Where the project lives: the address that notebooks install from and that badges lead to.

It is `repository` in _quarto.yml, else the address that git fetches from. So in a fork the badges lead to the fork, with no
setting. An address on this machine counts as none, and a name or token in an address never reaches a notebook.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

_SSH = re.compile(r"^(?:ssh://)?(?:[^@/\s]+@)([^:/\s]+)[:/](?:\d+/)?(.+)$")


def web_address(remote: str) -> str:
    """The https address of a git remote, without user, token and `.git`; "" if it is a path on this machine."""
    ssh = _SSH.match(remote)
    if ssh:
        return f"https://{ssh.group(1)}/{ssh.group(2).rstrip('/').removesuffix('.git')}"
    parts = urlsplit(remote)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}".removesuffix(".git")


def origin(root: Path) -> str:
    """The web address of git's `origin`; "" if the folder is no clone of its own or has none."""
    if not (root / ".git").exists():
        return ""
    try:
        asked = subprocess.run(["git", "-C", str(root), "remote", "get-url", "origin"], capture_output=True, text=True)
    except OSError:
        return ""
    return web_address(asked.stdout.strip())


def github_name(address: str) -> str:
    """Owner and name from a GitHub address; "" for anything else."""
    match = re.match(r"^https://github\.com/([^/]+/[^/]+?)(\.git)?/?$", address)
    return match.group(1) if match else ""
