"""A pair as `Explanation.as_dict()` gives it, by hand: two terms, four pieces, two heads in two layers."""


def payload(query="deep river", document="a river bank runs", trusted=True) -> dict:
    pieces = document.split()

    def term(text, at, share):
        return {
            "term": text,
            "pieces": [at],
            "weight": 0.2 + 0.1 * at,
            "signal": share / (0.2 + 0.1 * at),
            "share": share,
            "bm25": {"tf": at, "idf": 2.0, "factor": 1.1 * at, "score": 2.2 * at},
            "semantic": {"soft_tf": 0.4, "idf": 3.0},
            "removal": 0.5,
            "masked": None,
            "tokens": [
                {"position": 1, "text": pieces[1], "share": share},
                {"position": 0, "text": pieces[0], "share": -0.1},
            ],
        }

    looks = [[0.1, 0.2, 0.6, 0.1], [0.0, 0.9, 0.1, 0.0]]
    shares = (-0.25, 1.5)
    return {
        "model": "hand-made",
        "query": query,
        "document": document,
        "score": 2.0,
        "baseline": 0.5,
        "explained": sum(shares),
        "unexplained": 0.25,
        "percentile": 97.0,
        "trusted": trusted,
        "doubt": "" if trusted else "Do not trust this explanation: +0.25 logits stay unexplained.",
        "query_pieces": query.split(),
        "document_pieces": pieces,
        "truncated": False,
        "terms": [term(text, at, shares[at]) for at, text in enumerate(query.split()[:2])],
        "heads": [
            {"name": "1.0", "layer": 1, "attention": looks},
            {"name": "3.2", "layer": 3, "attention": looks[::-1]},
        ],
    }
