"""Commands as a person calls them: their output, and one line with exit code 2 for anything that the person can mend."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from semanticbm.commands import cli
from semanticbm.ladder import classroom_folder, load


def call(capsys, *arguments):
    """Run a command in this process: (exit code, stdout, stderr)."""
    with pytest.raises(SystemExit) as stop:
        cli.main(list(arguments))
    output = capsys.readouterr()
    return stop.value.code or 0, output.out, output.err


def assert_one_clear_line(code, error, *parts):
    assert code == 2
    assert error.startswith("semanticbm: ") and error.count("\n") == 1, error
    assert "Traceback" not in error
    for part in parts:
        assert part in error


@pytest.fixture(autouse=True)
def needs_classroom(classroom_model):
    """Most commands use the default model."""


def test_score_prints_score_and_document(capsys, classroom_model):
    code, out, _ = call(capsys, "score", "river bank", "The bank of the stream.", "Banks lend\nmoney.")
    assert code == 0
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[1] for row in rows] == ["The bank of the stream.", "Banks lend money."]
    expected = classroom_model.score("river bank", ["The bank of the stream.", "Banks lend\nmoney."])
    assert [float(row[0]) for row in rows] == pytest.approx(expected, abs=1e-4)


def test_score_as_json(capsys):
    code, out, _ = call(capsys, "score", "river bank", "The bank of the stream.", "--json")
    assert code == 0 and set(json.loads(out)[0]) == {"score", "document"}


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("score", "", "document"), "the query is empty"),
        (("score", "query", " "), "the document is empty"),
        (("score", "q", "d", "--model", "nonsense"), "unknown model 'nonsense'"),
        (("score", "q", "d", "--device", "toaster"), "not a device"),
        (("reproduce", "--collection", "nowhere"), "unknown collection"),
        (("train", "--data", "nowhere"), "training data not found in nowhere"),
        (("score", "--nonsense"), "No such option"),
        (("score", "only a query"), "Missing argument"),
        (("nonsense",), "No such command"),
    ],
)
def test_bad_input(capsys, arguments, part):
    code, out, error = call(capsys, *arguments)
    assert_one_clear_line(code, error, part)
    assert out == ""


def test_truncation_is_reported_but_scored(capsys):
    code, out, error = call(capsys, "score", "query", "word " * 600)
    assert code == 0 and out.count("\t") == 1
    assert "over 512 tokens" in error and error.count("\n") == 1


def test_the_name_of_a_file_is_scored_with_a_warning(capsys, tmp_path):
    path = tmp_path / "bogs.txt"
    path.write_text("Peat bogs store carbon.")
    code, out, error = call(capsys, "score", "peat bogs", str(path), "Peat bogs.")
    assert code == 0 and out.count("\t") == 2
    assert error.count("\n") == 1 and "bogs.txt is a file; what is scored is its name" in error


def test_a_damaged_adapter(capsys, tmp_path):
    for file in classroom_folder().iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "adapter_model.safetensors").write_bytes(b"nonsense")
    code, _, error = call(capsys, "score", "q", "d", "--model", str(tmp_path))
    assert_one_clear_line(code, error, "damaged")


def test_the_hub_out_of_reach(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("semanticbm.loading.checkpoints.hub_in_reach", lambda: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    code, _, error = call(capsys, "score", "q", "d", "--model", "minilm-l12")
    assert_one_clear_line(code, error, "hub is out of reach", "--model classroom")


def test_an_output_folder_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    code, _, error = call(capsys, "reproduce", "--quick", "--out", str(tmp_path / "file" / "report"))
    assert_one_clear_line(code, error, "cannot write to", "--out")


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere, so permissions cannot be tested"
)
def test_a_folder_without_permission(capsys, tmp_path):
    tmp_path.chmod(stat.S_IREAD | stat.S_IEXEC)
    code, _, error = call(capsys, "reproduce", "--quick", "--out", str(tmp_path / "report"))
    assert_one_clear_line(code, error, "cannot write to")


def test_a_full_disk_and_an_interrupt(capsys, monkeypatch):
    import errno

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "report.json")

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    for action, part in ((full, "the disk is full (report.json)"), (interrupt, "run the same command again")):
        monkeypatch.setattr("semanticbm.ladder.load", action)
        code, _, error = call(capsys, "score", "q", "d")
        assert_one_clear_line(code, error, part)


def test_a_real_full_disk_leaves_no_half_file(tmp_path):
    """/dev/full refuses every byte: a report that cannot be written leaves nothing behind."""
    from semanticbm.study.sealed import write_sealed

    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    target = tmp_path / "report.json"
    temporary = tmp_path / f".report.json.{os.getpid()}.part"
    temporary.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_sealed(target, {"a": list(range(100000))})
    assert not target.exists() and not temporary.is_symlink()


def test_doctor(capsys):
    code, out, _ = call(capsys, "doctor")
    assert code == 0 and "everything works" in out and "FAIL" not in out


@pytest.mark.parametrize("command", ["doctor", "score", "reproduce", "book", "check", "grade", "train"])
def test_help_has_an_example(capsys, command):
    code, out, _ = call(capsys, command, "--help")
    assert code == 0 and "Example:" in out and f"semanticbm {command}" in out


def test_the_installed_command():
    command = Path(sys.executable).with_name("semanticbm")
    result = subprocess.run([command, "check", "idff"], capture_output=True, text=True, timeout=120)
    assert_one_clear_line(result.returncode, result.stderr, "did you mean idf?")


def test_two_loads_give_the_same_scores():
    assert load("classroom", "cpu").score("a", ["b"]) == load("classroom", "cpu").score("a", ["b"])


# ---- explain -------------------------------------------------------------------------------------------------------

QUERY, STREAM, MONEY = "river bank", "The bank of the stream is steep.", "Banks lend money."


def test_explain_prints_the_sum_and_a_row_for_each_term(capsys):
    code, out, _ = call(capsys, "explain", QUERY, STREAM)
    assert code == 0 and "unexplained" in out.split("\n\n")[0]
    assert [line.split()[0] for line in out.splitlines()[-2:]] == QUERY.split()


def test_explain_as_json_adds_up_to_the_score(capsys, classroom_model):
    code, out, _ = call(capsys, "explain", QUERY, STREAM, "--json")
    found = json.loads(out)
    assert code == 0 and found["score"] == pytest.approx(classroom_model.score(QUERY, [STREAM])[0], abs=1e-4)
    shares = sum(term["share"] for term in found["terms"])
    assert found["baseline"] + shares + found["unexplained"] == pytest.approx(found["score"])


def test_explain_against_another_document_explains_the_difference(capsys, classroom_model):
    code, out, _ = call(capsys, "explain", QUERY, STREAM, "--against", MONEY, "--json")
    scores = classroom_model.score(QUERY, [STREAM, MONEY])
    assert code == 0 and json.loads(out)["score"] == pytest.approx(scores[0] - scores[1], abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "needs a query and a document"),
        ([QUERY], "needs a query and a document"),
        (["", STREAM], "query is empty"),
        ([QUERY, " "], "document is empty"),
        ([QUERY, STREAM, "--against", ""], "document is empty"),
        ([QUERY, STREAM, "--model", "nothing"], "unknown model"),
        ([QUERY, STREAM, "--html", "."], "is a folder"),
        ([QUERY, STREAM, "--html", "no/folder/why.html"], "no folder no"),
        ([QUERY, STREAM, "--hmtl", "x"], "--hmtl"),
        ([QUERY, STREAM, "--serve"], "--serve takes no texts"),
    ],
)
def test_explain_refuses_bad_input_in_one_line(capsys, arguments, part):
    code, out, error = call(capsys, "explain", *arguments)
    assert_one_clear_line(code, error, part)
    assert out == ""


def test_explain_writes_a_page_in_which_text_stays_text(capsys, tmp_path):
    file = tmp_path / "why <script>.html"
    code, out, _ = call(capsys, "explain", "<script>alert(1)</script> bank", STREAM, "--html", str(file))
    assert code == 0 and "unexplained" in out
    page = file.read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page and "&lt;script&gt;" in page and page.startswith("<!doctype html>")


def test_the_page_of_a_difference_compares_the_two(capsys, tmp_path):
    file = tmp_path / "why.html"
    code, out, _ = call(capsys, "explain", QUERY, STREAM, "--against", MONEY, "--html", str(file), "--json")
    data = (
        file.read_text(encoding="utf-8")
        .partition('type="application/json" id="explained">')[2]
        .partition("</script>")[0]
    )
    found, written = json.loads(out), json.loads(data)
    assert code == 0 and written["against"] == found["doubt"]
    assert [pair["document"] for pair in written["pairs"]] == [STREAM, MONEY]


def test_explain_leaves_nothing_where_the_page_cannot_be_written(capsys, tmp_path):
    code, out, error = call(capsys, "explain", QUERY, STREAM, "--html", str(tmp_path / "none" / "why.html"))
    assert_one_clear_line(code, error, "no folder")
    assert out == "" and list(tmp_path.iterdir()) == []


def test_explain_serves_on_this_machine_alone_until_it_is_stopped(capsys, monkeypatch):
    pytest.importorskip("flask", reason="flask is not installed: pip install 'semanticbm[serve]'")
    from werkzeug.serving import BaseWSGIServer

    served = []

    def stop(server):
        served.append(server.server_address[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(BaseWSGIServer, "serve_forever", stop)
    code, out, _ = call(capsys, "explain", "--serve")
    assert code == 0 and served == ["127.0.0.1"]
    assert out.startswith("explain: http://127.0.0.1:") and "stopped serving" in out
