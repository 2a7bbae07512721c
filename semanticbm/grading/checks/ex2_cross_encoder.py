"""Checks for chapter 2. Oracles: sequences written down, and Hugging Face's own score."""

from __future__ import annotations

import numpy as np

from semanticbm.grading.registry import ExerciseFile

FILE = ExerciseFile(2)

NAMES = ("input_ids", "token_type_ids")

# --------------------------------------------------------------------------------------------------------------------
pair_ids = FILE.exercise(
    "pair_ids", "Join query and document to the one sequence that a cross-encoder reads.", 1, 10, 1
)


def _pair(case) -> tuple[list[int], list[int], int, int]:
    """Query, document, cls_id, sep_id."""
    return case.pick(([2314, 2924], [1996, 2924, 1996], 101, 102), ([7], [8, 9, 9], 1, 2), ([11, 12, 11], [14], 50, 40))


@pair_ids.check(
    1,
    "Draw the sequence on paper first. How many special tokens does it have?",
    "[CLS] once at the start; [SEP] twice.",
    "The order is [CLS], query, [SEP], document, [SEP].",
)
def tokens(answer, case):
    query, document, cls, sep = _pair(case)
    ids = answer.parts(query, document, cls, sep, names=NAMES)[0]
    answer.part(
        ids,
        [cls, *query, sep, *document, sep],
        "input_ids",
        {
            "The [SEP] between query and document is missing.": [cls, *query, *document, sep],
            "The last [SEP] is missing: the document ends with one, too.": [cls, *query, sep, *document],
            "The [CLS] at the start is missing.": [*query, sep, *document, sep],
            "There is a second [CLS] before the document; BERT has only one.": [cls, *query, sep, cls, *document, sep],
            "The document stands before the query.": [cls, *document, sep, *query, sep],
            "cls_id and sep_id are exchanged.": [sep, *query, cls, *document, cls],
            "The ids 101 and 102 are those of one vocabulary; use cls_id and sep_id.": [
                101,
                *query,
                102,
                *document,
                102,
            ],
        },
    )


@pair_ids.check(
    1,
    "The second list tells BERT which text a token belongs to.",
    "0 is the first text, 1 the second. [CLS] belongs to the first.",
    "The [SEP] after the query still has type 0; the last [SEP] has type 1.",
)
def types(answer, case):
    query, document, cls, sep = _pair(case)
    n, m = len(query), len(document)
    got = answer.parts(query, document, cls, sep, names=NAMES)[1]
    answer.part(
        got,
        [0] * (n + 2) + [1] * (m + 1),
        "token_type_ids",
        {
            "All types are 0: the document needs type 1.": [0] * (n + m + 3),
            "The [SEP] after the query has type 1; it closes the query, so it has type 0.": [0] * (n + 1)
            + [1] * (m + 2),
            "The last [SEP] has type 0; it closes the document, so it has type 1.": [0] * (n + 2) + [1] * m + [0],
            "0 and 1 are exchanged.": [1] * (n + 2) + [0] * (m + 1),
            "[CLS] has type 1; it belongs to the first text, with type 0.": [1] + [0] * (n + 1) + [1] * (m + 1),
        },
    )


# --------------------------------------------------------------------------------------------------------------------
spans = FILE.exercise("spans", "Find query and document in a sequence of token ids.", 2, 10, 1)
EDGES = {
    "[CLS] is inside the query span: it starts at 1.": lambda q, d, n: ((0, q[1]), d),
    "The stop is the last position; as in Python's slices it must be one more.": lambda q, d, n: (
        (q[0], q[1] - 1),
        (d[0], d[1] - 1),
    ),
    "The spans include [SEP].": lambda q, d, n: ((q[0], q[1] + 1), (d[0], d[1] + 1)),
    "The document span starts at the [SEP]; it starts one later.": lambda q, d, n: (q, (d[0] - 1, d[1])),
    "The document span ends with the sequence; padding may follow the last [SEP].": lambda q, d, n: (q, (d[0], n - 1)),
    "The document span takes in the padding: it ends at the second [SEP].": lambda q, d, n: (q, (d[0], n)),
    "Query and document are exchanged.": lambda q, d, n: (d, q),
}


def _check_spans(answer, case, padding: int, n: int, m: int) -> None:
    cls, sep, pad = case.pick((101, 102, 0), (1, 2, 3), (60, 50, 9))
    ids = [cls, *range(500, 500 + n), sep, *range(700, 700 + m), sep, *([pad] * padding)]
    query, document = (1, n + 1), (n + 2, n + m + 2)
    wrong = {name: mistake(query, document, len(ids)) for name, mistake in EDGES.items()}
    answer.gives((ids, sep), (query, document), wrong)


@spans.check(
    1,
    "Write the positions under the tokens and read them off.",
    "A span is (start, stop) as in Python's slices: ids[start:stop] is the text.",
    "ids.index(sep_id) is the first [SEP]. The query is 1 to there, the document starts one after it.",
)
def unpadded(answer, case):
    _check_spans(answer, case, 0, *case.pick((2, 3), (1, 4), (4, 2)))


@spans.check(
    1,
    "In a batch, shorter sequences end with padding.",
    "Do not take the end of the sequence for the end of the document.",
    "The document ends at the second [SEP]. It may be empty: then its start and stop are equal.",
)
def padded(answer, case):
    for n, m in case.pick(((2, 3), (2, 0)), ((1, 4), (3, 0)), ((4, 2), (1, 1))):
        _check_spans(answer, case, case.pick(3, 1, 5), n, m)


# --------------------------------------------------------------------------------------------------------------------
pad_batch = FILE.exercise("pad_batch", "Put sequences of different length into one batch, with a mask.", 2, 10, 1)
BATCH = ("input_ids", "attention_mask")


def _padded(rows, pad):
    longest = max(map(len, rows))
    return np.array([row + [pad] * (longest - len(row)) for row in rows])


@pad_batch.check(
    1,
    "A batch is a rectangle. How wide must it be?",
    "As wide as the longest row; shorter rows are filled with the pad id on the right.",
    "pad_batch([[5], [6, 7]], 0)[0] = [[5, 0], [6, 7]].",
)
def ids(answer, case):
    rows, pad = case.pick(
        ([[5, 6, 7], [8], [9, 3]], 4), ([[4], [5, 6, 7, 8]], 0), ([[2, 3], [4, 5, 6], [7], [8, 9, 1]], 9)
    )
    right, shortest = _padded(rows, pad), min(map(len, rows))
    width = right.shape[1]
    answer.part(
        answer.parts(rows, pad, names=BATCH)[0],
        right,
        "input_ids",
        {
            "The padding stands on the left; BERT is padded on the right.": [
                [pad] * (width - len(row)) + row for row in rows
            ],
            "Rows were cut to the shortest one; pad to the longest.": [row[:shortest] for row in rows],
            "Rows are padded with 1 instead of the pad id.": _padded(rows, 1),
            "Rows are padded with 0; the pad id is an argument, and some models have another one.": _padded(rows, 0),
            "Every row got one token more: pad to the longest row.": np.c_[right, [pad] * len(rows)],
        },
    )


@pad_batch.check(
    1,
    "The mask tells the model which tokens are real.",
    "It has the shape of the ids: 1 at real tokens, 0 at padding.",
    "Count the tokens of each row. Do not look for the pad id: a row may contain it.",
)
def mask(answer, case):
    for rows, pad in case.pick(
        (([[5, 0, 7], [8]], 0), ([[5, 3], [3, 4, 3]], 3)),
        (([[0], [5, 6]], 0), ([[], [7, 7, 1]], 7)),
        (([[3, 4], [0, 0, 1]], 0), ([[2, 2], [2, 6]], 2)),
    ):
        width = max(map(len, rows))
        right = np.array([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        seen = (_padded(rows, pad) != pad).astype(int)
        answer.part(
            answer.parts(rows, pad, names=BATCH)[1],
            right,
            "attention_mask",
            {
                "The mask was made by looking for the pad id, but a row contains that id. Use the lengths.": seen,
                "1 and 0 are exchanged: 1 means a real token.": 1 - right,
                "The mask is 1 everywhere: padding needs 0.": np.ones_like(right),
                "The mask holds the ids. It must hold 1 and 0.": _padded(rows, pad),
            },
        )


# --------------------------------------------------------------------------------------------------------------------
score_by_hand = FILE.exercise(
    "score_by_hand", "From the last layer's vectors to the score, with pooler and classifier.", 2, 20, 2
)


def _wrong_scores(hf, hidden) -> dict:
    import torch

    def head(cls):
        return hf.classifier(torch.tanh(hf.bert.pooler.dense(cls)))[..., 0]

    right = head(hidden[:, 0])
    return {
        "The tanh between pooler and classifier is missing.": hf.classifier(hf.bert.pooler.dense(hidden[:, 0]))[..., 0],
        "The biases are missing: call hf.bert.pooler.dense and hf.classifier, or add their `.bias`.": (
            torch.tanh(hidden[:, 0] @ hf.bert.pooler.dense.weight.T) @ hf.classifier.weight.T
        )[:, 0],
        "The pooler is missing.": hf.classifier(hidden[:, 0])[..., 0],
        "The vectors were averaged over positions; BERT's score reads position 0 alone.": head(hidden.mean(dim=1)),
        "This is the last position, not [CLS].": head(hidden[:, -1]),
        "A sigmoid was applied; the score is the raw logit.": torch.sigmoid(right),
        "Only the first pair of the batch was scored.": right[:1],
        "The shape is [batch, 1]; take column 0 to get [batch].": right[:, None],
    }


def _check_score(answer, case, n_pairs: int) -> None:
    import torch

    model, (inputs, _) = case.model(), case.pairs(n_pairs)
    with torch.no_grad():
        hidden = model.hf.bert(**inputs).last_hidden_state
        answer.gives(
            (model.hf, hidden), model.hf(**inputs).logits[:, 0], _wrong_scores(model.hf, hidden), tolerance=1e-5
        )


@score_by_hand.check(
    1,
    "Which position does the score read?",
    "hf.bert.pooler.dense, then tanh, then hf.classifier, on hidden[:, 0].",
    "hf.classifier returns [batch, 1]; the score is its column 0.",
)
def one_pair(answer, case):
    _check_score(answer, case, 1)


@score_by_hand.check(
    2,
    "Now the batch has several pairs.",
    "Keep the batch axis: hidden[:, 0] is [batch, d_model].",
    "The result has one score a pair: shape [batch].",
)
def batch(answer, case):
    _check_score(answer, case, case.pick(3, 2, 4))
