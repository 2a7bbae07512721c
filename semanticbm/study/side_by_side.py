"""All readings of chapter 9 on one set of queries, with their controls, as plain data and as findings for the claims.

`compare` is used twice: by the reproduction on its own collection, and by `semanticbm.study.fresh_sets` on collections that
no choice was made on. It takes the heads that were found before; nothing is chosen here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from semanticbm.collection import Collection
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.evaluation import bootstrap_mean, measure, partial_correlation, pearson, spearman
from semanticbm.heads import Head
from semanticbm.idf import EmbeddingIdf, embedding_idf, idf_values, u0, word_table
from semanticbm.semantic_bm import Features, collect_features, cross_predict, query_folds, semantic_bm_columns
from semanticbm.study import causes
from semanticbm.study.claims import Finding
from semanticbm.study.readings import (
    Readings,
    Run,
    along,
    deal_again,
    early_heads,
    gradient_times_input,
    layerwise_draws,
    random_directions,
    read_all,
    signals_alone,
    soft_match_embeddings,
    summary,
    weight_times_signal,
    written_fixed,
    written_own,
)
from semanticbm.study.study import BackboneVectors
from semanticbm.study.variants import matching_columns, tuned_bm25
from semanticbm.written import MatchDirection, by_length, read_query

Correlations = dict[str, float]  # {query id: Pearson with the score}
CIRCUIT = "written by matching heads and relays"
OWN_WEIGHT = "w, the model's own term weight"


@dataclass(frozen=True)
class Subject:
    """What is read: a model, the heads found in it before, queries that choose directions, queries that are measured.

    `idf`: the table behind U0 and the ridge regression, usually MS MARCO's. `few`: measured queries of controls that would cost
    too much on all. `backbone`: gives the cosines. `features`: known ones, of the measured pairs and others.
    """

    model: CrossEncoder
    collection: Collection
    matching: list[Head]
    relays: list[Head]
    choose: Run
    measure: Run
    idf: Mapping[str, float]
    seed: int = 0
    few: int = 10
    backbone: BackboneVectors = field(default_factory=BackboneVectors)
    features: Features | None = None

    @property
    def circuit(self) -> list[Head]:
        """Matching heads and relays below the last layer."""
        heads = dict.fromkeys([*self.matching, *self.relays])
        return [head for head in heads if head[0] < self.model.n_layers - 1]


# --------------------------------------------------------------------------------------------------------------------
# Matching scores under different term weights


def term_weight_tables(subject: Subject, readings: Readings) -> dict[str, np.ndarray]:
    """{name: one weight for each piece of the vocabulary}, for weights that depend on the word alone."""
    tokenizer = subject.model.tokenizer
    pieces = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    own = idf_values("collection", subject.collection)
    return {
        "IDF of the collection": _by_piece(pieces, own),
        "IDF of the table": _by_piece(pieces, subject.idf),
        "IDF by ridge from the embedding": embedding_idf(subject.model, subject.idf).of_pieces,
        "stop-word list": np.array([0.0 if piece in ENGLISH_STOP_WORDS else 1.0 for piece in pieces]),
    }


def _by_piece(pieces: Sequence[str], idf: Mapping[str, float]) -> np.ndarray:
    """IDF of each piece; pieces without one get the mean."""
    usual = float(np.mean(list(idf.values())))
    return np.array([idf.get(piece, usual) for piece in pieces])


def features_of(subject: Subject, label: str = "") -> Features:
    """Matching scores, U0 and BM25's ingredients on the measured pairs, in the order of the readings."""
    if subject.features is not None:
        return rows_of(subject.features, subject.measure)
    run = {query: {doc: -float(rank) for rank, doc in enumerate(docs)} for query, docs in subject.measure.items()}
    depth = max(map(len, subject.measure.values()))
    return collect_features(subject.model, subject.collection, run, depth, subject.idf, progress=bool(label))


def rows_of(features: Features, run: Run) -> Features:
    """The features of a run's pairs, in its order, out of features of more pairs; KeyError for a pair that is not there."""
    number = {pair: row for row, pair in enumerate(zip(features.query_ids, features.document_ids, strict=True))}
    rows = [number[query, document] for query, documents in run.items() for document in documents]
    return replace(features, **{name: of[rows] for name, of in vars(features).items() if isinstance(of, np.ndarray)})


def spread_over_pairs(features: Features, by_query: Mapping[str, np.ndarray]) -> np.ndarray:
    """{query id: weight of each piece} as float [pair, piece], 0 beyond the query's end."""
    table = np.zeros_like(features.g, dtype=float)
    for query, weights in by_query.items():
        table[np.ix_(features.query_ids == query, np.arange(len(weights)))] = weights
    return table


def weighted_matching(
    subject: Subject, features: Features, readings: Readings, n_draws: int = 20
) -> tuple[dict[str, Correlations], list[Correlations]]:
    """Matching scores with 1 and a weight, fitted by ridge and split by query: {weight: ...}, and draws of wrong weights."""
    folds, heads = query_folds(features, seed=subject.seed), subject.matching
    by_name = {"U0": features.g} | {
        name: spread_over_pairs(features, {query: table[row.ids] for query, row in readings.of.items()})
        for name, table in term_weight_tables(subject, readings).items()
    }
    own = {query: row.weights for query, row in readings.of.items()}
    by_name["w, the model's own term weight"] = spread_over_pairs(features, own)
    found = {"no weights": _fitted(features, matching_columns(features, heads), folds)}
    for name, weights in by_name.items():
        found[name] = _fitted(features, semantic_bm_columns(features, heads, weights), folds)
    rng = np.random.default_rng(subject.seed)
    dealt = [{query: deal_again(weights, rng) for query, weights in own.items()} for _ in range(n_draws)]
    wrong = [
        _fitted(features, semantic_bm_columns(features, heads, spread_over_pairs(features, weights)), folds)
        for weights in dealt
    ]
    return found, wrong


def _fitted(features: Features, columns: np.ndarray, folds: Sequence[np.ndarray]) -> Correlations:
    return features.pearson_by_query(cross_predict(features, columns, folds))


# --------------------------------------------------------------------------------------------------------------------
# What heads write


def added(subject: Subject, readings: Readings) -> dict[str, Correlations]:
    """Readings with nothing fitted but the scale."""
    early, circuit = early_heads(subject.model), subject.circuit
    found = {
        "written by matching heads": written_own(subject.matching),
        CIRCUIT: written_own(circuit),
        f"{CIRCUIT}, all sources": written_own(circuit, "all"),
        "written by all heads below the last layer": written_own(early),
        "written by matching heads, one direction times w": written_fixed(subject.matching),
        f"{CIRCUIT}, one direction times w": written_fixed(circuit),
        f"{CIRCUIT}, one direction times w, all sources": written_fixed(circuit, "all"),
        "written by all heads below the last layer, one direction times w": written_fixed(early),
        "match signals times w": weight_times_signal,
        "match signals, no weights": signals_alone,
    }
    return {name: readings.correlations(reading) for name, reading in found.items()}


def written_fitted(subject: Subject, readings: Readings, features: Features) -> Correlations:
    """What matching heads and relays write, one fitted coefficient a head, split by query."""
    columns = np.column_stack([readings.pairs(written_own([head])) for head in subject.circuit])
    return _fitted(features, columns, query_folds(features, seed=subject.seed))


def random_heads(subject: Subject, readings: Readings, n_draws: int = 20) -> list[Correlations]:
    """The same as the circuit's reading for as many other heads, layer by layer."""
    draws = layerwise_draws(subject.circuit, subject.circuit, subject.model.n_heads, n_draws, subject.seed)
    return [readings.correlations(written_own(heads)) for heads in draws]


def directions_by_chance(subject: Subject, readings: Readings, n_draws: int = 40) -> list[Correlations]:
    """`weight_times_signal` along random directions, each oriented so that its median is positive."""
    found = [
        readings.correlations(along(direction))
        for direction in random_directions(subject.model.d_model, n_draws, subject.seed)
    ]
    return [
        {query: value * np.sign(np.nanmedian(list(values.values())) or 1.0) for query, value in values.items()}
        for values in found
    ]


def gradients(subject: Subject, readings: Readings) -> dict[str, Correlations]:
    """Gradient times input at each layer, summed over query or document pieces, oriented as it comes; first queries only."""
    found: dict[str, Correlations] = {}
    for query, documents in _first(subject.measure, subject.few).items():
        texts = [subject.collection.documents[document] for document in documents]
        for name, values in gradient_times_input(subject.model, subject.collection.queries[query], texts).items():
            found.setdefault(name, {})[query] = pearson(values, readings.of[query].score)
    return found


def given_cosine(readings: Readings, cosines: Mapping[str, np.ndarray], reading: Callable) -> Correlations:
    """Correlation of a reading with the score given the backbone's cosine, inside each query."""
    return {
        query: partial_correlation(reading(row), row.score, cosines[query][:, None])
        for query, row in readings.of.items()
    }


def agreement(readings: Readings, reading: Callable) -> Correlations:
    """Agreement of order: Spearman of a reading and the score inside each query."""
    return {query: spearman(reading(row), row.score) for query, row in readings.of.items()}


def rankers(subject: Subject, predictions: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict]:
    """nDCG@10 of the measured documents in the order of each prediction {name: {query id: float [document]}}.

    {name: mean with interval, n}; empty for a collection without grades.
    """
    if not subject.collection.graded:
        return {}
    grades = {query: subject.collection.judgements[query] for query in subject.measure}
    runs = {
        name: {query: dict(zip(subject.measure[query], map(float, of[query]), strict=True)) for query in of}
        for name, of in predictions.items()
    }
    return {name: _mean(list(measure(run, grades, "nDCG@10").values())) for name, run in runs.items()}


def by_query(features: Features, values: np.ndarray) -> dict[str, np.ndarray]:
    """A prediction of all pairs, divided by query: float [pair] -> {query id: float [document]}."""
    return {query: values[features.query_ids == query] for query in features.queries}


# --------------------------------------------------------------------------------------------------------------------
# Are signals a term's own? And do they cause?


def own_share(signals: np.ndarray) -> float:
    """Share of the variance over documents that is not common to all pieces: float [document, piece] -> 0 to 1.

    Each piece's mean over documents is taken off; what is common is the mean over pieces. NaN for one piece.
    """
    if signals.shape[1] < 2:
        return float("nan")
    moved = signals - signals.mean(axis=0)
    common = moved.mean(axis=1, keepdims=True)
    return float(1 - (common**2).mean() / (moved**2).mean())


def between_pieces(signals: np.ndarray) -> float:
    """Mean correlation over documents of two pieces' signals; NaN for one piece."""
    if signals.shape[1] < 2:
        return float("nan")
    table = np.corrcoef(signals.T)
    return float(table[np.triu_indices(len(table), 1)].mean())


def removal_correlations(subject: Subject, readings: Readings, n_documents: int = 3) -> tuple[list[float], list[float]]:
    """Correlation of real and predicted cost of taking a term out, for each query; and with w dealt to wrong pieces."""
    rng, right, wrong = np.random.default_rng(subject.seed), [], []
    for query, documents in subject.measure.items():
        row = readings.of[query]
        texts = [subject.collection.documents[document] for document in documents[:n_documents]]
        signals = row.signals[:n_documents]
        found = causes.removals(subject.model, subject.collection.queries[query], texts, row.weights, signals)
        if found is not None:
            right.append(found.correlation())
            shares = causes.word_shares(
                subject.model, subject.collection.queries[query], deal_again(row.weights, rng), signals
            )
            wrong.append(replace(found, predicted=causes.centred(shares)).correlation())
    return right, wrong


def mean_signal_effects(subject: Subject, readings: Readings, n_directions: int = 3) -> dict:
    """Share of the changes explained when signals are set to their mean; the same along random directions.

    Each direction gets the scale that serves it best on queries that choose, so that the control is not beaten by its
    length alone.
    """
    step = causes.unit_step(readings.direction.state)
    others = random_directions(subject.model.d_model, n_directions, subject.seed + 1) * np.linalg.norm(step)
    own = {query: (row.weights, row.signals) for query, row in readings.of.items()}
    few = _first(own, subject.few)
    rest = {query: of for query, of in own.items() if query not in few}
    tuning = _moved(subject, _weights_and_signals(subject, readings.direction), subject.choose, [step, *others])
    explained, *by_chance = _explained(tuning, _moved(subject, few, subject.measure, [step, *others]))
    more, *_ = _explained(tuning[:1], _moved(subject, rest, subject.measure, [step]))
    return {"explained": explained + more, "controls": [float(np.nanmean(values)) for values in by_chance]}


def _weights_and_signals(subject: Subject, direction: MatchDirection, n_queries: int = 6) -> dict[str, tuple]:
    """{query id: term weights [piece], match signals [document, piece]} of the first queries that choose."""
    found = {}
    for query, ids in _first(subject.choose, n_queries).items():
        texts = [subject.collection.documents[document] for document in ids]
        reading = by_length(subject.model, subject.collection.queries[query], texts, read_query)
        found[query] = reading.term_weights(), reading.match_signals(direction.state)
    return found


def _moved(
    subject: Subject, read: Mapping[str, tuple], run: Run, steps: Sequence[np.ndarray], n_documents: int = 3
) -> list[list[causes.Cause]]:
    """What moving the signals of each query's first documents does: for each step, one `Cause` a query."""
    by_query = []
    for query, (weights, signals) in read.items():
        texts = [subject.collection.documents[document] for document in run[query][:n_documents]]
        question = subject.collection.queries[query]
        by_query.append(
            causes.mean_signals(subject.model, question, texts, weights, signals[:n_documents], np.array(steps))
        )
    return [list(of_step) for of_step in zip(*by_query, strict=True)] or [[] for _ in steps]


def _explained(tuning: Sequence[list[causes.Cause]], measured: Sequence[list[causes.Cause]]) -> list[list[float]]:
    """For each step the share explained on each measured query, at the scale that serves the choosing queries best."""
    scales = map(causes.common_scale, tuning)
    return [[cause.explained(scale) for cause in found] for scale, found in zip(scales, measured, strict=True)]


# --------------------------------------------------------------------------------------------------------------------
# All of it


def difference(first: Correlations, second: Sequence[Correlations]) -> list[float]:
    """For each query `first` minus the mean of `second` over draws, where all are known."""
    gaps = [first[query] - np.mean([draw[query] for draw in second]) for query in first] if second else []
    return [gap for gap in gaps if np.isfinite(gap)]


def reach(found: Correlations, draws: Sequence[Correlations]) -> float | None:
    """Share of draws whose median reaches that of the found heads; None without draws."""
    if not draws:
        return None
    target = np.nanmedian(list(found.values()))
    return float(np.mean([np.nanmedian(list(draw.values())) >= target for draw in draws]))


def finding_of_mean(values: Sequence[float], control: float | None, seed: int, note: str = "") -> Finding:
    """Mean over queries with its interval."""
    known = [value for value in values if np.isfinite(value)]
    return Finding(*bootstrap_mean(known, seed=seed), len(known), control, note) if known else Finding(None, note=note)


def finding_of_median(values: Correlations, control: float | None, seed: int, note: str = "") -> Finding:
    """Median over queries with its interval."""
    row = summary(values, seed)
    return Finding(row["median"], row["low"], row["high"], row["n"], control, note)


def medians(draws: Sequence[Correlations]) -> list[float]:
    """The median over queries of each draw."""
    return [float(np.nanmedian(list(draw.values()))) for draw in draws]


def compare(subject: Subject, untrained: Mapping[str, CrossEncoder], n_draws: int = 20, label: str = "") -> dict:
    """Every reading and control on the subject, JSON-ready, with `findings` for the claims of chapter 9.

    untrained: {name: network that learned nothing of this task}; the same heads are read in them.
    """
    readings = read_all(subject.model, subject.collection, subject.choose, subject.measure, label)
    features = features_of(subject, label)
    weighted, wrong = weighted_matching(subject, features, readings, n_draws)
    written = added(subject, readings)
    draws, chance = random_heads(subject, readings, n_draws), directions_by_chance(subject, readings, 2 * n_draws)
    idle = {name: _untrained(subject, model, label) for name, model in untrained.items()}
    removal, removal_wrong = removal_correlations(subject, readings)
    moved = mean_signal_effects(subject, readings)
    ridge = embedding_idf(subject.model, subject.idf, seed=subject.seed)
    signals = {query: row.signals for query, row in readings.of.items()}
    cosines = cosines_of(subject)
    by_cosine = {query: pearson(cosines[query], row.score) for query, row in readings.of.items()}
    bm25 = tuned_bm25(features, query_folds(features, seed=subject.seed))[0]
    circuit = written_own(subject.circuit)
    none = features.pearson_by_query(
        soft_match_embeddings(subject.model, readings, subject.collection, subject.measure)
    )
    return {
        "n_queries": len(readings.of),
        "n_pairs": len(features),
        "heads": {"matching": subject.matching, "circuit": subject.circuit},
        "lexical": {"BM25, tuned": summary(features.pearson_by_query(bm25)), "backbone's cosine": summary(by_cosine)},
        "matching": {name: summary(values) for name, values in weighted.items()},
        "written": {name: summary(values) for name, values in written.items()}
        | {f"{CIRCUIT}, fitted": summary(written_fitted(subject, readings, features))},
        "controls": {
            "random heads of the same layers": _draws(draws) | {"reach": reach(written[CIRCUIT], draws)},
            "random directions before the last layer": _draws(chance)
            | {"reach": reach(written["match signals times w"], chance)},
            "w dealt to the wrong pieces": _draws(wrong),
            "embeddings without attention": summary(none),
            "gradient times input": {name: summary(values) for name, values in gradients(subject, readings).items()},
            "untrained": idle,
        },
        "given the cosine": {
            CIRCUIT: summary(given_cosine(readings, cosines, circuit)),
            "match signals times w": summary(given_cosine(readings, cosines, weight_times_signal)),
        },
        "nDCG@10": rankers(
            subject,
            {
                "the model": {query: row.score for query, row in readings.of.items()},
                "BM25, tuned": by_query(features, bm25),
                "backbone's cosine": cosines,
                CIRCUIT: {query: circuit(row) for query, row in readings.of.items()},
                "match signals times w": {query: weight_times_signal(row) for query, row in readings.of.items()},
            },
        ),
        "agreement of order": {
            CIRCUIT: summary(agreement(readings, circuit)),
            "match signals times w": summary(agreement(readings, weight_times_signal)),
        },
        "signals": {
            "own share": _mean([own_share(values) for values in signals.values()]),
            "between pieces": _mean([between_pieces(values) for values in signals.values()]),
        },
        "causes": {
            "removal": _mean(removal),
            "removal, wrong weights": _mean(removal_wrong),
            "mean signal": _mean(moved["explained"]),
            "mean signal, random directions": moved["controls"],
        },
        "ridge": {"pearson": ridge.pearson, "u0": u0_correlation(subject), "n_words": len(ridge.idf)},
        "findings": {
            "ridge_idf": _ridge_finding(subject, ridge),
            "term_weight_gain": finding_of_mean(
                difference(weighted[OWN_WEIGHT], [weighted["U0"]]),
                float(np.mean([np.mean(difference(draw, [weighted["U0"]])) for draw in wrong])),
                subject.seed,
            ),
            "written": finding_of_median(written[CIRCUIT], _best_untrained(idle), subject.seed),
            "written_minus_random": finding_of_mean(
                difference(written[CIRCUIT], draws), 0.0, subject.seed, _reach_in_words(written[CIRCUIT], draws)
            ),
            "weight_times_signal": finding_of_median(
                written["match signals times w"], max(medians(chance)), subject.seed
            ),
            "own_share": finding_of_mean(
                [own_share(values) for values in signals.values()],
                None,
                subject.seed,
                f"two pieces of a query correlate {np.nanmean([between_pieces(v) for v in signals.values()]):.2f}",
            ),
            "removal": finding_of_mean(removal, float(np.nanmean(removal_wrong)), subject.seed),
            "mean_signal": finding_of_mean(moved["explained"], float(max(moved["controls"])), subject.seed),
        },
    }


def _best_untrained(idle: Mapping[str, dict]) -> float | None:
    """The best that the same heads reach in an untrained network, with either kind of slopes; None without one."""
    medians_of = [row[kind]["median"] for row in idle.values() for kind in ("fixed direction", "own slopes")]
    known = [median for median in medians_of if median is not None]
    return max(known) if known else None


def _first(of: Mapping, n: int) -> dict:
    """What belongs to the first `n` queries: for controls that would cost too much on all."""
    return dict(list(of.items())[:n])


def _untrained(subject: Subject, model: CrossEncoder, label: str) -> dict:
    """The circuit's heads, and all early heads, read in a network that learned nothing of this task."""
    choose, few = _first(subject.choose, 6), _first(subject.measure, subject.few)
    readings = read_all(model, subject.collection, choose, few, f"{label}, {model.name}" if label else "")
    return {
        "fixed direction": summary(readings.correlations(written_fixed(subject.circuit))),
        "own slopes": summary(readings.correlations(written_own(subject.circuit))),
        "all early heads, fixed direction": summary(readings.correlations(written_fixed(early_heads(model), "all"))),
        "all early heads, own slopes": summary(readings.correlations(written_own(early_heads(model), "all"))),
        "match signals times w": summary(readings.correlations(weight_times_signal)),
    }


def cosines_of(subject: Subject) -> dict[str, np.ndarray]:
    """The backbone's cosine of each measured query with its documents: {query id: float [document]}."""
    collection, run = subject.collection, subject.measure
    pairs = [(collection.queries[query], collection.documents[document]) for query in run for document in run[query]]
    cosines = iter(subject.backbone.cosines(pairs))
    return {query: np.array([next(cosines) for _ in documents]) for query, documents in run.items()}


def u0_correlation(subject: Subject) -> float:
    """Pearson of U0 with IDF over the words of the table."""
    table = word_table(subject.model, subject.idf)
    return pearson(u0(subject.model)[table.ids], table.idf)


def _ridge_finding(subject: Subject, ridge: EmbeddingIdf, n: int = 500) -> Finding:
    """Held-out correlation of the ridge regression, with a bootstrap interval over words."""
    rng, size = np.random.default_rng(subject.seed), len(ridge.idf)
    picks = rng.integers(size, size=(n, size))
    low, high = np.quantile([pearson(ridge.predicted[pick], ridge.idf[pick]) for pick in picks], [0.025, 0.975])
    return Finding(ridge.pearson, float(low), float(high), size, abs(u0_correlation(subject)), "interval over words")


def _reach_in_words(found: Correlations, draws: Sequence[Correlations]) -> str:
    if not draws:
        return "there are no other heads in these layers"
    return f"best draw {max(medians(draws)):.3f}; {reach(found, draws):.0%} of draws reach the found heads"


def _draws(draws: Sequence[Correlations]) -> dict:
    """Median, best and worst of the draws' medians; empty without draws."""
    if not draws:
        return {"draws": 0}
    found = medians(draws)
    return {"median": float(np.median(found)), "best": max(found), "worst": min(found), "draws": len(found)}


def _mean(values: Sequence[float]) -> dict:
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return {"mean": None, "low": None, "high": None, "n": 0}
    return dict(zip(("mean", "low", "high"), bootstrap_mean(known), strict=True)) | {"n": len(known)}
