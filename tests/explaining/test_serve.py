"""The page with a text field: type, see, change the model; limits; other addresses are refused."""

import threading

import pytest
from explaining.payload import payload

from semanticbm.errors import UserError
from semanticbm.explaining.serve import application, checked, server_of

pytest.importorskip("flask", reason="the page with a text field needs the extra serve")
MODELS = ["first", "second"]


def answer(model, query, document):
    if query == "bad":
        raise UserError("the query is bad.")
    return payload(query, document) | {"model": model}


@pytest.fixture
def client():
    return application(answer, MODELS).test_client()


def ask(client, host="127.0.0.1:80", **question):
    asked = {"model": "first", "query": "deep river", "document": "a river bank runs"} | question
    return client.post("/explain", json=asked, headers={"Host": host})


def test_a_question_is_answered(client):
    assert ask(client).json["terms"][1]["term"] == "river"
    assert client.get("/models", headers={"Host": "localhost:80"}).json == MODELS


@pytest.mark.parametrize(
    ("question", "part"),
    [
        ({"query": "bad"}, "the query is bad"),
        ({"query": 3}, "three texts"),
        ({"query": "x" * 1001}, "1000 is the most"),
        ({"document": "x" * 10_001}, "10000 is the most"),
        ({"model": "../secret"}, "no model"),
    ],
)
def test_a_bad_question_is_one_clear_line(client, question, part):
    got = ask(client, **question)
    assert got.status_code == 400 and part in got.json["error"] and "Traceback" not in got.text


@pytest.mark.parametrize("asked", [None, [], "text", {"model": "first"}])
def test_anything_else_is_refused(asked):
    with pytest.raises(UserError, match="three texts"):
        checked(asked, MODELS)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "0.0.0.0:80", ""])
def test_only_this_machine_is_answered(client, host):
    assert ask(client, host=host).status_code == 403


def test_a_large_body_is_refused(client):
    sent = client.post(
        "/explain", data=b"x" * 200_000, headers={"Host": "localhost:1", "Content-Type": "application/json"}
    )
    assert sent.status_code in (400, 413) and "terms" not in sent.text


def test_a_second_question_at_the_same_time_is_told_so():
    began, go_on = threading.Event(), threading.Event()

    def slow(*asked):
        began.set()
        go_on.wait(20)
        return answer(*asked)

    app = application(slow, MODELS)
    first = threading.Thread(target=ask, args=(app.test_client(),))
    first.start()
    assert began.wait(20)
    second = ask(app.test_client())
    go_on.set()
    first.join()
    assert second.status_code == 503 and "another question" in second.json["error"]
    assert ask(app.test_client()).status_code == 200


@pytest.mark.timeout(600)
def test_type_see_and_change_the_model(browser):
    server = server_of(application(answer, MODELS))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    view = browser.new_page()
    view.goto(f"http://127.0.0.1:{server.port}/")
    view.get_by_label("Query").fill("deep river")
    view.get_by_label("Document").fill("a river bank runs")
    view.get_by_role("button", name="Explain").click()
    view.get_by_role("button", name="river").wait_for()
    view.get_by_text("Model: first.").wait_for()
    view.get_by_label("Model").select_option("second")
    view.get_by_role("button", name="Explain").click()
    view.get_by_text("Model: second.").wait_for()
    view.get_by_label("Query").fill("bad")
    view.get_by_role("button", name="Explain").click()
    view.get_by_text("the query is bad.").wait_for()
    view.close()
    server.shutdown()
