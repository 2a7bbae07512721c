"""A model from the hub: which commit it is, is printed and kept in its name. The hub is a folder here."""

import shutil

import httpx
import pytest
from huggingface_hub.errors import (
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from semanticbm.errors import UserError
from semanticbm.ladder import backbone_folder, load

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(monkeypatch, tmp_path, tiny):
    """A cache of the hub with one model, and what was asked of it."""
    folder = tmp_path / "snapshots" / COMMIT
    tiny.hf.save_pretrained(folder)
    for path in backbone_folder().iterdir():
        if path.suffix in (".json", ".txt") and path.name != "config.json" and path.is_file():
            shutil.copy(path, folder)
    asked = []

    def snapshot_download(repo, revision, **_):
        asked.append((repo, revision))
        return str(folder)

    monkeypatch.setattr("semanticbm.loading.checkpoints.snapshot_download", snapshot_download)
    monkeypatch.setattr("semanticbm.loading.checkpoints.hub_in_reach", lambda: True)
    return asked


@pytest.mark.parametrize(
    ("name", "revision"), [("owner/model", None), ("owner/model@main", "main"), (f"owner/model@{COMMIT}", COMMIT)]
)
def test_the_commit_is_printed_and_kept(hub, capsys, name, revision):
    model = load(name, "cpu")
    assert hub == [("owner/model", revision)]
    assert model.name == f"owner/model@{COMMIT}", "reports print this name"
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and f"at commit {COMMIT}" in said.err


RESPONSE = httpx.Response(404, request=httpx.Request("GET", "https://example.org"))


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (RevisionNotFoundError("no", response=RESPONSE), "no revision 'old'"),
        (RepositoryNotFoundError("no", response=RESPONSE), "unknown model 'owner/model'"),
        (HFValidationError("no"), "unknown model 'owner/model'"),
        (LocalEntryNotFoundError("not in the cache"), "hub is out of reach"),
    ],
)
def test_what_the_hub_refuses_is_one_line(monkeypatch, hub, error, part):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr("semanticbm.loading.checkpoints.snapshot_download", refuse)
    with pytest.raises(UserError, match=part):
        load("owner/model@old", "cpu")
