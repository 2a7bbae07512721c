"""Training: what is protected stays out, the loss is the formula, a killed run goes on, the export loads again."""

import csv
import gzip
import json
import random

import numpy as np
import pytest
import torch

from semanticbm.classroom_model import data as training_data
from semanticbm.classroom_model.data import (
    Question,
    crop,
    normalise_query,
    split_queries,
    text_key,
    with_hard_negatives,
)
from semanticbm.errors import UserError
from semanticbm.ladder import load

SUBJECTS = [
    "rivers",
    "banks",
    "dogs",
    "birds",
    "snakes",
    "clocks",
    "cars",
    "teeth",
    "stars",
    "metals",
    "bread",
    "gardens",
    "music",
    "tennis",
    "courts",
    "bridges",
]
FILLER = (
    "people often write about {} because the subject is old and wide and each town has its own way to speak of it "
    "so number {} of these short texts says a little more about {} and about {} than the one before it did"
)


def passage(number: int, subject: str) -> str:
    return FILLER.format(subject, number, subject, SUBJECTS[number % len(SUBJECTS)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small data folder in the real formats, with texts made here."""
    root = tmp_path_factory.mktemp("data")
    for name in ("trecqa", "xquad", "subjqa", "pubmedqa", "paper"):
        (root / name).mkdir()
    with gzip.open(root / "msmarco-trec-dl-judged.jsonl.gz", "wt") as handle:
        for query in range(44):
            for number in range(6):
                subject = SUBJECTS[(query + number) % len(SUBJECTS)]
                handle.write(
                    json.dumps(
                        {
                            "qid": str(query),
                            "docno": "x",
                            "query": f"what about {subject} number {query}?",
                            "text": passage(10 * query + number, subject),
                            "relevance": number % 4,
                        }
                    )
                    + "\n"
                )
    with gzip.open(root / "medquad.jsonl.gz", "wt") as handle:
        for number in range(30):
            handle.write(
                json.dumps(
                    {
                        "question": f"What are {SUBJECTS[number % 16]} for ?",
                        "answer": passage(900 + number, SUBJECTS[number % 16]),
                    }
                )
                + "\n"
            )
    for part in ("train", "dev", "test"):
        lines = "".join(
            f"<question>\nwhat\tis\t{subject}\n</question>\n<positive>\n"
            + passage(700, subject).replace(" ", "\t")
            + "\n</positive>\n"
            for subject in SUBJECTS[:4]
        )
        (root / "trecqa" / f"{part}.xml").write_text(lines)
    context = passage(500, "rivers")
    (root / "xquad" / "xquad.en.json").write_text(
        json.dumps(
            {
                "data": [
                    {
                        "paragraphs": [
                            {
                                "context": context,
                                "qas": [{"question": "Which rivers?", "answers": [{"answer_start": 20}]}],
                            }
                        ]
                    }
                ]
            }
        )
    )
    with gzip.open(root / "subjqa" / "books_splits_dev.csv.gz", "wt", newline="") as handle:
        writer = csv.DictWriter(handle, ["question", "review_id", "review", "human_ans_spans", "human_ans_indices"])
        writer.writeheader()
        writer.writerow(
            {
                "question": "how is the long plot",
                "review_id": "1",
                "review": passage(300, "music"),
                "human_ans_spans": "old",
                "human_ans_indices": "(40, 50)",
            }
        )
    (root / "pubmedqa" / "ori_pqal.json").write_text(
        json.dumps({"1": {"QUESTION": "Do teeth last?", "CONTEXTS": [passage(200, "teeth")]}})
    )
    (root / "paper" / "tfc1_add_baseline_final_dd_corpus.json").write_text(
        json.dumps({"corpus": {"1": {"2": {"title": "", "text": "a " + passage(900, "rivers")}}}})
    )
    (root / "paper" / "tfc1_add_qids_with_text.csv").write_text("1,what are banks for\n")
    return root


@pytest.fixture(scope="module")
def data(folder):
    return training_data.build(folder, validation_questions=4)


def test_no_protected_text_or_query_is_trained_on(data, folder):
    trained = {text_key(text) for group in data.train for text in group.passages}
    queries = {group.query for group in data.train}
    for part in (data.validation, data.held_out):
        graded = {query: grades for query, grades in part.items() if query.startswith("what about")}
        assert not trained & {text_key(text) for grades in graded.values() for text in grades}
        assert not queries & set(part)
    assert text_key(passage(900, "rivers")) not in trained, "a text of the paper's data, under another query"
    assert "what are banks for" not in queries, "a query of the paper's data"


@pytest.mark.long
def test_the_real_data_is_protected_too(data_folder):
    real = training_data.build(data_folder)
    trained = {text_key(text) for group in real.train for text in group.passages}
    assert not trained & {text_key(text) for grades in real.held_out.values() for text in grades}
    paper_queries, paper_keys = training_data.paper_texts(data_folder)
    assert len(paper_queries) == 100 and not trained & paper_keys
    assert not paper_queries & {group.query for group in real.train}


def test_groups_have_one_best_passage_and_no_twins(data):
    assert data.train
    for group in data.train:
        assert len(group.passages) == len(group.relevance) == training_data.GROUP_SIZE
        assert group.relevance[0] == max(group.relevance) and group.relevance[0] > max(group.relevance[1:])
        assert len(set(group.passages)) == len(group.passages)


def test_split_is_fixed():
    queries = [f"query {number}" for number in range(60)]
    split = split_queries(queries)
    assert split == split_queries(list(reversed(queries)))
    assert len(split["held_out"]) == 30 and sum(map(len, split.values())) == 60


def test_normalising():
    assert normalise_query("What  is ``BM25'' ?") == "what is bm25"


def test_crop_stays_in_bounds():
    rng, text = random.Random(0), " ".join(map(str, range(300)))
    for _ in range(200):
        assert training_data.CROP_WORDS[0] <= len(crop(text, rng).split()) <= training_data.CROP_WORDS[1]
    assert crop("one two", rng) == "one two"


def test_negatives_are_never_the_right_passage_of_the_same_query():
    questions = [Question("what are rivers", passage(number, "rivers"), "s") for number in range(3)]
    questions += [Question(f"what are {subject}", passage(9, subject), "s") for subject in SUBJECTS]
    right = {question.passage for question in questions if question.query == "what are rivers"}
    for group in with_hard_negatives(questions, random.Random(0)):
        if group.query == "what are rivers":
            assert not right & set(group.passages[1:])


def test_missing_data_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="training data not found"):
        training_data.data_folder(tmp_path)


# ---- the trainer ---------------------------------------------------------------------------------------------------

training = pytest.importorskip("semanticbm.classroom_model.training", reason="the trainer comes with the extra `train`")


@pytest.fixture(scope="module")
def trainable():
    return training.trainable_model(training.Recipe())


def test_loss_is_the_formula(trainable):
    loss = training.GroupLoss(trainable, "softmax+cosine", chunk=2)
    passages, relevance, cosines = (
        ["red fish", "a blue bird sings", "green tea"],
        torch.tensor([1.0, 1 / 3, 0.0]),
        [0.9, 0.4, 0.1],
    )
    with torch.no_grad():
        value = loss([["query"], [passages], [cosines]], [relevance])
        scores = torch.tensor(trainable.predict([("query", text) for text in passages], show_progress_bar=False))
    target = 0.6 * (6 * relevance).softmax(0) + 0.4 * (20 * torch.tensor(cosines)).softmax(0)
    ranking = -(target * scores.log_softmax(0)).sum()
    level = -(relevance * torch.sigmoid(scores).log() + (1 - relevance) * torch.sigmoid(-scores).log()).mean()
    assert float(value) == pytest.approx(float(ranking + 0.2 * level), abs=1e-4)


def test_only_small_matrices_and_the_head_are_trained(trainable):
    trained = [name for name, value in trainable.model.named_parameters() if value.requires_grad]
    assert trained and all("lora" in name or "modules_to_save" in name for name in trained)
    assert not any("word_embeddings" in name for name in trained)


def test_the_clock_counts_what_was_trained_and_no_pause(tmp_path, monkeypatch):
    """100 s to a checkpoint, then 7 s that are lost; after a pause of a day another 50 s."""
    now = {"time": 1000.0}
    monkeypatch.setattr(training.time, "monotonic", lambda: now["time"])
    first = training.Clock(tmp_path / "seconds.json")
    first.on_train_begin(None, None, None)
    now["time"] += 100
    first.on_save(None, None, None)
    now["time"] += 7 + 86_400
    second = training.Clock(tmp_path / "seconds.json")
    now["time"] += 20  # loading
    second.on_train_begin(None, None, None)
    now["time"] += 50
    assert second.seconds == 150


RECIPE = training.Recipe(max_steps=2, groups_per_step=2, evaluate_every=1, warmup_steps=0)


def test_a_killed_run_goes_on_and_its_adapter_loads(folder, tmp_path, monkeypatch):
    seen = []

    class Kill(training.StopAfter):
        def on_save(self, args, state, control, **kwargs):
            raise KeyboardInterrupt

    class Watch(training.StopAfter):
        def on_step_end(self, args, state, control, **kwargs):
            seen.append(state.global_step)

    monkeypatch.setattr(training, "StopAfter", Kill)
    with pytest.raises(KeyboardInterrupt):
        training.train(tmp_path / "run", folder, RECIPE)
    before = json.loads((tmp_path / "run" / "seconds.json").read_text())
    (tmp_path / "run" / "seconds.json").write_text(json.dumps(before + 1000))
    monkeypatch.setattr(training, "StopAfter", Watch)
    adapter = training.train(tmp_path / "run", folder, RECIPE)
    seconds = json.loads((adapter / "semanticbm.json").read_text())["seconds"]
    assert before > 0 and 1000 <= seconds < 1600, "the time of the first call counts, the pause does not"
    assert seen == [2], "the second call must start after the step that was saved"
    model = load(str(adapter), "cpu")
    assert np.isfinite(model.score("rivers", ["a text about rivers", "a text about bread"])).all()
    assert (adapter / "adapter_model.safetensors").stat().st_size < 8e6
    with pytest.raises(UserError, match="another recipe"):
        training.train(tmp_path / "run", folder, training.Recipe(max_steps=3, groups_per_step=2))


def test_validation_measure_counts_both_kinds_of_queries():
    judgements = {"graded": {"a": 3, "b": 2, "c": 1, "d": 0}, "single": {"a": 1, "b": 0}}
    evaluator = training.RankingEvaluator(judgements)

    class Perfect:
        def predict(self, pairs, **_):
            return [judgements[query][text] for query, text in pairs]

    assert evaluator(Perfect())["ndcg"] == pytest.approx(1.0)


def test_the_shipped_card_is_the_one_that_the_files_give():
    """The card beside the shipped adapter repeats the stored examination, number for number."""
    from semanticbm.classroom_model.card import card
    from semanticbm.ladder import classroom_folder
    from semanticbm.study.results import read_json

    about = json.loads((classroom_folder() / "semanticbm.json").read_text())
    report = read_json("training/examination.json")["shipped"]
    assert (classroom_folder() / "README.md").read_text() == card(about, report)
    assert report["trec-dl"]["queries"] == 30
    assert report["trec-dl"]["cross-encoder minus"]["bm25"]["mean"] > 0


def test_windows_cover_the_text_and_overlap():
    from semanticbm.classroom_model.examination import windows

    text = " ".join(map(str, range(150)))
    found = windows(text)
    assert found[0].split() == [str(number) for number in range(60)] and found[1].split()[0] == "30"
    assert {word for window in found for word in window.split()} == set(text.split()), "no word is lost"
    assert all(len(window.split()) > 30 for window in found), "no window holds only what the one before it held"
    assert windows("a short text") == ["a short text"] and windows("") == [""]


def test_a_document_gets_the_score_of_its_best_window(tiny):
    from semanticbm.classroom_model.examination import rerank_windows, windows
    from semanticbm.collection import Collection

    documents = {"long": " ".join(["river bank"] * 50 + ["money"] * 40), "short": "a bank"}
    run = rerank_windows(tiny, Collection("toy", documents, {"q": "bank"}, {}), {"q": {"long": 2.0, "short": 1.0}})
    assert run["q"]["long"] == pytest.approx(tiny.score("bank", windows(documents["long"])).max(), abs=1e-5)
    assert run["q"]["short"] == pytest.approx(tiny.score("bank", ["a bank"])[0], abs=1e-5)
