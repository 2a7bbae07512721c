"""BM25 written into the weights of a BERT, by hand.

`compile_bm25` returns an ordinary Hugging Face `BertForSequenceClassification` of two layers with one head each.
Nothing is trained. Its logit is the BM25 score. Since we wrote every weight, we know its circuit exactly: it is the
ground truth on which the methods of this book have to prove themselves.

**Why it works: BM25's TF factor is an attention head.** A query token attends to the document with logit beta where the
token is the same word, 0 where it is another word, and s on one *sink*, [CLS]. The softmax puts this mass on the
matches:

    a = tf e^beta / (tf e^beta + (|d| - tf) + e^s)

With beta = ln(1 + avgdl / (k1 b)) and s = ln(avgdl (1 - b) / b) the mass is, up to a constant, BM25's factor:

    (k1 + 1) (1 - e^-beta) a  =  tf (k1 + 1) / (tf + k1 (1 - b + b |d| / avgdl))

Saturation is the softmax: it cannot exceed 1. Length normalisation is the competition of the other document tokens.
b says how much of the competition is document and how much is sink; k1 says how far a match stands out.

**The circuit.** Layer 0 computes a for each query token; layer 1 lets [CLS] add up idf times a.

=========  ==============================================================================================
embedding  word identity, flags for query, document, [CLS], [SEP]
head 0.0   *matching*: query tokens look for themselves in the document; copies the words that it sees
MLP 0      one unit a word: how much of the copied mass is my own word? The result is a
head 1.0   *scoring*: [CLS] attends to query tokens with logit ln idf, so with weight idf; adds up idf times a
pooler     tanh of a tiny multiple (a straight line there); the classifier scales back
=========  ==============================================================================================

**The residual stream**, 2m + 13 numbers for m words:

==========  =====  =====================================================================================
feature     width  meaning
==========  =====  =====================================================================================
identity    m      1 at the token's own word; [OTHER] and the special tokens have none
mass        m      attention mass on each word, written by head 0.0
word        1      1 if the token has an identity
query       1      1 at query tokens and the first [SEP]
document    1      1 at document tokens and the last [SEP]
cls, sep    2      1 at [CLS], 1 at [SEP]
tf          2      +a, -a
score       2      +score, -score, at [CLS]
constant    2      +K, -K with a large K
spare       1      always 0
balance     1      minus the sum of all the rest
==========  =====  =====================================================================================

*LayerNorm* comes after every block and subtracts the mean and divides by the spread. The balance keeps the mean at 0.
The constant pair dominates the spread, so LayerNorm only scales by a number that its gain undoes, up to one part in
(features / K)^2. What is left is rounding: the mean is not quite 0 in float32, and all features shift together. So
every reader subtracts the spare feature, which holds that shift and nothing else; a pair is read as a difference.

*Reading units.* The input of one is SHIFT at its own word, where GELU is straight, and SHIFT - GATE at other words, where it
is 0. Both numbers lie between 32 and 64, so that rounding is the same everywhere and a mass of 0 is read as exactly 0.

*[OTHER].* Only words that can be asked for need an identity. All other document words share one token, which adds to
the length and matches nothing. That loses nothing. A query word without an identity cannot be scored, and is reported.

*Limits.* At b = 1 the sink has logit minus infinity, at b = 0 beta and s are both infinite with a finite difference, at
k1 = 0 beta is infinite. Logits are cut at +-40, which is as good as infinite (e^-40 is 4e-18), so these cases work.

*Semantic variant.* The logits need not be a diagonal: a synonym can get a logit between 0 and beta, and the reading
unit a weight. With logit ln(1 + g (e^beta - 1)) and weight g e^beta / (1 + g (e^beta - 1)) a synonym counts exactly as
g occurrences: tf becomes the *soft tf* = occurrences + g times occurrences of synonyms.

When it misleads: that BM25 can be written so does not say that training finds it. It is a hypothesis with a shape
(logits, sink, IDF weights) that can be looked for in a trained model; `semanticbm.head_as_bm25` does that.
The IDF sits in the keys of head 1.0, not in the embedding, so U0 of this model means nothing; `semanticbm.study.planted`
plants it there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
import torch
from tokenizers import Tokenizer, models, processors
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from semanticbm import bert
from semanticbm.bm25 import BM25, check_parameters
from semanticbm.collection import NORMALIZER, SPLITTER, Collection, words
from semanticbm.cross_encoder import CrossEncoder, Encoding, Pair, check_pairs
from semanticbm.errors import UserError, warn_caller

SPECIAL_TOKENS = ("[PAD]", "[OTHER]", "[CLS]", "[SEP]")
MAX_POSITIONS = 512
MAX_BYTES = 2_000_000_000
SYNONYM_WEIGHT = 0.5

CONSTANT = 1024.0  # K: how far the constant pair dominates the spread
CUT = 40.0  # logits beyond this count as infinite
MASKED = 120.0  # logit, subtracted from what must not be seen
IDLE = 200.0  # logit that keeps a row on the sink
SINK = 16.0  # logit of the scoring head's sink: weights are idf / (e^16 + sum of idf)
GATE, SHIFT = 62.0, 40.0
READ = 8.0  # gain of the mass in a reading unit
SMALL = 0.01  # scale of the score in the residual stream
TINY = 1e-5  # scale of the score inside tanh


class UnknownWordWarning(UserWarning):
    """A query word has no identity in a compiled model, and the document does not contain it: it adds 0 (chapter 3)."""


# ---- The mathematics -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MatchLogits:
    """Attention logits of a head that computes BM25's TF factor, relative to a word that does not match (0).

    `beta`: logit of a match. `sink`: logit of [CLS]. `gain`: what turns the mass on the matches into the TF factor. Chapter 3.
    """

    beta: float
    sink: float
    gain: float


def match_logits(k1: float, b: float, avgdl: float) -> MatchLogits:
    """Logits for given k1 and b: beta = ln(1 + avgdl / (k1 b)), sink = ln(avgdl (1 - b) / b), cut at +-40.

    At b = 0 both are infinite, but their difference is -ln k1: the sink is cut, and beta follows it. Beta can be read off
    the sink, cut or not, since avgdl / b = e^sink + avgdl for every b > 0.
    Chapter 3, eq-logits.
    """
    check_parameters(k1, b)
    sink = CUT if b == 0 else -CUT if b == 1 else float(np.clip(log(avgdl * (1 - b) / b), -CUT, CUT))
    beta = float(np.logaddexp(0.0, np.logaddexp(sink, log(avgdl)) - log(k1))) if k1 > 0 else max(sink, 0.0) + CUT
    return MatchLogits(beta, sink, (k1 + 1) * (1 - exp(-beta)))


def synonym_matrix(vocabulary: list[str], synonyms: dict[str, list[str]], weight: float) -> np.ndarray:
    """What a document word counts for a query word: 1 for itself, `weight` for a synonym, else 0. [word, word].

    Chapter 3.
    """
    number = {word: place for place, word in enumerate(vocabulary)}
    counts_as = np.eye(len(vocabulary))
    for word, others in synonyms.items():
        for other in others:
            if word in number and other in number and word != other:
                counts_as[number[word], number[other]] = weight
    return counts_as


# ---- The tokenizer: words, not pieces ------------------------------------------------------------------------------


def build_tokenizer(vocabulary: list[str]) -> PreTrainedTokenizerFast:
    """A fast tokenizer whose tokens are `collection.words`; all words outside `vocabulary` become [OTHER].

    Chapter 3.
    """
    ids = {token: number for number, token in enumerate([*SPECIAL_TOKENS, *vocabulary])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[OTHER]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = NORMALIZER, SPLITTER
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[OTHER]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        model_max_length=int(1e9),
        split_special_tokens=True,  # "[SEP]" in a text is text
    )


class CompiledCrossEncoder(CrossEncoder):
    """A compiled model: a `CrossEncoder` that knows its words and the BM25 that it was made from.

    `vocabulary`: the words that a query may use. `bm25`: the reference. `hf` is a stock Hugging Face model. Chapter 3.
    """

    def __init__(self, hf: BertForSequenceClassification, name: str, vocabulary: list[str], bm25: BM25):
        super().__init__(hf, build_tokenizer(vocabulary), name)
        self.vocabulary = vocabulary
        self.bm25 = bm25

    def encode(self, pairs: Iterable[Pair], truncate: bool = True) -> Encoding:
        """As `CrossEncoder.encode`; a query word without an identity is reported, see `report_unknown_words`."""
        pairs = check_pairs(pairs)
        report_unknown_words(pairs, set(self.vocabulary))
        return super().encode(pairs, truncate)


def report_unknown_words(pairs: list[Pair], known: set[str]) -> None:
    """Refuse pairs that a compiled model would score wrongly; warn of query words that add nothing (chapter 3).

    A query word without an identity adds 0. That is right if the document does not contain it (a warning), and wrong if
    it does (a `UserError`).
    """
    unknown: set[str] = set()
    for query, document in pairs:
        if not words(query):
            raise UserError(f"the query {query!r} has no word in it: give it at least one.")
        missing = set(words(query)) - known
        if lost := sorted(missing & set(words(document))):
            names = ", ".join(lost)
            raise UserError(
                f"the compiled model does not know the query word(s) {names}: compile it with words={lost}."
            )
        unknown |= missing
    if unknown:
        names = ", ".join(sorted(unknown))
        message = f"the compiled model does not know the query word(s) {names}: they add 0: the document does not contain them."
        warn_caller(message, UnknownWordWarning)


# ---- The residual stream -------------------------------------------------------------------------------------------


class Layout:
    """Where each feature lives in the residual stream: `identity` and `mass` are slices, the others single places.

    A pair such as tf is two neighbours: `layout.pair("tf")` gives both places. Chapter 3.
    """

    SINGLES = ("word", "query", "document", "cls", "sep")
    PAIRS = ("tf", "score", "constant")

    def __init__(self, n_words: int, pairs: tuple[str, ...] = (), free: int = 0, width: int = 0):
        """`pairs`: more features stored as pairs. `free`: places of no meaning. `width`: at least this many places."""
        self.n_words = n_words
        self.identity, self.mass = slice(0, n_words), slice(n_words, 2 * n_words)
        names = [*self.SINGLES, *(name + sign for name in (*self.PAIRS, *pairs) for sign in "+-")]
        self._place = {name: 2 * n_words + number for number, name in enumerate(names)}
        end = 2 * n_words + len(names)
        self.free = slice(end, end + free)
        self.width = max(end + free + 2, width)  # one spare place that is always 0, then the balance, last

    def __getitem__(self, name: str) -> int:
        return self._place[name]

    def pair(self, name: str) -> list[int]:
        """The places of +x and -x."""
        return [self._place[name + "+"], self._place[name + "-"]]


PLUS_MINUS = torch.tensor([1.0, -1.0])


def balance(writes: Tensor) -> None:
    """Make every write sum to 0 by its last place, in place: writes is float [..., feature] (chapter 3)."""
    writes[..., -1] = -writes[..., :-1].sum(-1)


def level(reads: Tensor) -> None:
    """Make every reader blind to a shift of all features, by its spare place, in place: float [..., feature].

    Chapter 3.
    """
    reads[..., -2] = 0
    reads[..., -2] = -reads.sum(-1)


@dataclass(frozen=True)
class HeadWeights:
    """Views of one head's weights: query, key, value [channel, feature], query_bias [channel], output [feature, channel].

    `unit` is what a query channel must hold so that its product with a key, over sqrt(channels), is the key's value. Chapter 3.
    """

    query: Tensor
    query_bias: Tensor
    key: Tensor
    value: Tensor
    output: Tensor
    unit: float


def head_weights(hf: BertForSequenceClassification, layer: int, head: int) -> HeadWeights:
    """Views of head `layer.head`; writing into them changes the model (chapter 3)."""
    d_head = hf.config.hidden_size // hf.config.num_attention_heads
    channels = slice(head * d_head, (head + 1) * d_head)
    block = bert.layers(hf)[layer]
    query, key, value = (bert.projection(block, into) for into in "qkv")
    return HeadWeights(
        query=query.weight[channels],
        query_bias=query.bias[channels],
        key=key.weight[channels],
        value=value.weight[channels],
        output=bert.z_projection(block).weight[:, channels],
        unit=sqrt(d_head),
    )


# ---- The weights, one function for each block ----------------------------------------------------------------------


def weight_bytes(n_words: int, n_layers: int, width: int, itemsize: int) -> int:
    """Bytes of a compiled model's weights (chapter 3)."""
    a_layer = 4 * width * width + 2 * width * (n_words + 1)
    return itemsize * (n_layers * a_layer + width * width + width * (n_words + len(SPECIAL_TOKENS) + MAX_POSITIONS))


def _check_size(n_words: int, n_layers: int, width: int, itemsize: int) -> None:
    needed = weight_bytes(n_words, n_layers, width, itemsize)
    if needed > MAX_BYTES:
        raise UserError(
            f"{n_words:,} words need {needed / 1e9:.1f} GB of weights, and the limit is "
            f"{MAX_BYTES / 1e9:.0f} GB (weights grow with the square of the words): compile for fewer "
            "queries or words."
        )


def empty_bert(layout: Layout, n_layers: int, n_heads: int, dtype: torch.dtype) -> BertForSequenceClassification:
    """A stock BERT whose weights are all 0 and whose LayerNorms only undo their own scaling (chapter 3)."""
    _check_size(layout.n_words, n_layers, layout.width, torch.finfo(dtype).bits // 8)
    config = BertConfig(
        vocab_size=len(SPECIAL_TOKENS) + layout.n_words,
        hidden_size=layout.width,
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads,
        intermediate_size=layout.n_words + 1,
        max_position_embeddings=MAX_POSITIONS,
        hidden_act="gelu",
        layer_norm_eps=1e-12,
        num_labels=1,
        pad_token_id=0,
        attn_implementation="eager",
    )
    with torch.random.fork_rng(devices=[]):  # the random initial weights are thrown away: leave the caller's seed alone
        hf = BertForSequenceClassification(config).to(dtype).eval().requires_grad_(False)
    for parameter in hf.parameters():
        parameter.zero_()
    for module in hf.modules():
        if isinstance(module, nn.LayerNorm):
            module.weight.fill_(CONSTANT * sqrt(2 / layout.width))
    return hf


def write_embeddings(hf: BertForSequenceClassification, layout: Layout) -> None:
    """Word identities, flags and the constant pair. Token types tell the query from the document (chapter 3).

    The row of a word is its identity and nothing else. What all words have in common (the flag `word`, the constant, a
    balance of -1 for the identity) is in the token types; [OTHER] and the special tokens take back what does not apply.
    """
    table, types = bert.word_embeddings(hf).weight, bert.type_embeddings(hf).weight
    special = table[: len(SPECIAL_TOKENS)]
    cls, sep = special[SPECIAL_TOKENS.index("[CLS]")], special[SPECIAL_TOKENS.index("[SEP]")]
    table[len(SPECIAL_TOKENS) :, layout.identity] = torch.eye(layout.n_words, dtype=table.dtype)
    special[:, layout["word"]] = -1
    cls[layout["cls"]] = sep[layout["sep"]] = 1
    cls[layout["query"]] = -1  # [CLS] has the query's token type and is no query word
    types[:, layout["word"]] = types[0, layout["query"]] = types[1, layout["document"]] = 1
    types[:, layout.pair("constant")] = CONSTANT * PLUS_MINUS.to(types.dtype)
    balance(special)
    balance(types)
    special[:, -1] += 1
    types[:, -1] -= 1


def write_match_pattern(head: HeadWeights, layout: Layout, logits: Tensor, sink: float) -> None:
    """Attention of a matching head: query words see the document and the sink, all other rows only the sink.

    logits: float [query word, document word]. Channels: one for each word, one for "may be seen", one for "idle".
    Chapter 3, eq-logits.
    """
    seen, idle = layout.n_words, layout.n_words + 1
    head.query[: layout.n_words, layout.identity] = head.unit * torch.eye(layout.n_words, dtype=logits.dtype)
    head.key[: layout.n_words, layout.identity] = logits
    head.query_bias[seen] = head.unit
    head.key[seen, [layout["query"], layout["sep"]]] = -MASKED
    head.key[seen, layout["cls"]] = sink
    head.query[idle, [layout["document"], layout["cls"], layout["sep"]]] = head.unit
    head.key[idle, layout["cls"]] = IDLE
    level(head.query)
    level(head.key)


def write_copy(head: HeadWeights, layout: Layout, gain: float = 1.0) -> None:
    """Output of a matching head: at the row's `mass`, `gain` times the attention that each word received.

    Chapter 3.
    """
    eye = torch.eye(layout.n_words, dtype=head.value.dtype)
    head.value[: layout.n_words, layout.identity] = eye
    level(head.value)
    head.output[layout.mass, : layout.n_words] = gain * eye
    balance(head.output.T)


def write_reading_units(
    hf: BertForSequenceClassification, layer: int, layout: Layout, weights: Tensor, gain: float = 1.0
) -> None:
    """MLP: tf = gain x weighted mass on the token's own word. weights: float [own word, word that was seen].

    Unit w gets GATE from its own identity, which lifts it into GELU's straight part; the units of all other words stay
    far below 0, where GELU is 0. One more unit, on for every word, takes the lift off again.
    Chapter 3.
    """
    into, out = bert.mlp_input(bert.layers(hf)[layer]), bert.mlp_projection(bert.layers(hf)[layer])
    into.weight[: layout.n_words, layout.identity] = GATE * torch.eye(layout.n_words, dtype=weights.dtype)
    into.weight[: layout.n_words, layout.mass] = READ * weights
    into.weight[: layout.n_words, -2] = -READ * weights.sum(-1)
    into.weight[layout.n_words, layout["word"]] = GATE
    into.bias.fill_(SHIFT - GATE)
    plus, minus = layout.pair("tf")
    for place, sign in ((plus, 1.0), (minus, -1.0)):
        out.weight[place, : layout.n_words] = sign * gain / READ
        out.weight[place, layout.n_words] = -sign * gain / READ


def write_scoring_pattern(head: HeadWeights, layout: Layout, log_idf: Tensor) -> None:
    """Attention of the scoring head: [CLS] sees query words with logit ln idf, and the sink; others only the sink.

    Chapter 3, eq-scoring.
    """
    head.query_bias[0] = head.unit
    head.key[0, layout.identity] = log_idf
    head.key[0, [layout["document"], layout["sep"]]] = -MASKED
    head.key[0, layout["cls"]] = SINK
    head.query[1, [layout["query"], layout["document"], layout["sep"]]] = head.unit
    head.key[1, layout["cls"]] = IDLE
    level(head.query)
    level(head.key)


def write_sum(head: HeadWeights, layout: Layout, source: str, target: str, gain: float) -> None:
    """Output of a summing head: target = gain x attention-weighted sum of source (both features are pairs).

    Chapter 3.
    """
    head.value[0, layout.pair(source)] = PLUS_MINUS.to(head.value.dtype) / 2
    head.output[layout.pair(target), 0] = gain * PLUS_MINUS.to(head.output.dtype)


def write_read_out(hf: BertForSequenceClassification, layout: Layout) -> None:
    """Pooler and classifier: the logit is the score. tanh(x) is x up to x^2 / 3, so x is kept tiny (chapter 3)."""
    bert.pooler_projection(hf).weight[0, layout.pair("score")] = TINY / SMALL / 2 * PLUS_MINUS.to(hf.dtype)
    bert.classifier(hf).weight[0, 0] = 1 / TINY


# ---- Putting it together -------------------------------------------------------------------------------------------


def query_vocabulary(collection: Collection, more: Iterable[str] = (), synonyms: bool = False) -> list[str]:
    """The words that need an identity, sorted: those of the queries, of `more`, and (if asked) their synonyms.

    Chapter 3.
    """
    asked = {word for text in (*collection.queries.values(), *more) for word in words(text)}
    replaced = {other for word in asked for other in collection.synonyms.get(word, [])} if synonyms else set()
    vocabulary = sorted(asked | {word for text in replaced for word in words(text)})
    if not vocabulary:
        raise UserError(f"collection {collection.name}: no queries, so there is no word to compile: pass words=[...].")
    return vocabulary


def compile_bm25(
    collection: Collection,
    k1: float = 1.2,
    b: float = 0.75,
    semantic: bool = False,
    words: Iterable[str] = (),
    dtype: torch.dtype = torch.float32,
    synonym_weight: float = SYNONYM_WEIGHT,
) -> CompiledCrossEncoder:
    """Compile BM25 (with Lucene's IDF) into a BERT of 2 layers x 1 head whose logit is the score (chapter 3, eq-identity).

    The vocabulary is the words of the collection's queries and of `words`. With `semantic`, a synonym of a query word
    (from the collection's list) counts as `synonym_weight` occurrences.
    Raises `UserError` if k1 or b is out of range, or if the weights would need more than 2 GB.
    """
    bm25 = BM25(collection.documents, k1, b)
    if not 0 <= synonym_weight <= 1:
        raise UserError(f"synonym_weight = {synonym_weight}: it must be between 0 and 1.")
    vocabulary = query_vocabulary(collection, words, semantic)
    layout = Layout(len(vocabulary))
    hf = empty_bert(layout, n_layers=2, n_heads=1, dtype=dtype)
    counts_as = synonym_matrix(vocabulary, collection.synonyms if semantic else {}, synonym_weight)
    logits = match_logits(k1, b, bm25.avgdl)
    write_embeddings(hf, layout)
    write_matching_layer(hf, layout, logits, torch.tensor(counts_as, dtype=dtype))
    write_scoring_layer(hf, layout, logits.gain, log_idf(bm25, vocabulary, dtype))
    write_read_out(hf, layout)
    return CompiledCrossEncoder(hf, "compiled-semantic" if semantic else "compiled", vocabulary, bm25)


def log_idf(bm25: BM25, vocabulary: list[str], dtype: torch.dtype) -> Tensor:
    """ln idf of each word: float [word] (chapter 3)."""
    return torch.tensor([log(bm25.word_idf(word)) for word in vocabulary], dtype=dtype)


def write_matching_layer(
    hf: BertForSequenceClassification, layout: Layout, logits: MatchLogits, counts_as: Tensor
) -> None:
    """Layer 0: the matching head and the units that read its result (chapter 3).

    counts_as: float [query word, document word]. A word that counts as g occurrences gets logit ln(1 + g (e^beta - 1))
    and reading weight g e^beta / (1 + g (e^beta - 1)); at g = 1 that is beta and 1, at g = 0 it is 0 and 0.
    """
    odds = torch.expm1(torch.tensor(logits.beta, dtype=torch.float64))
    g = counts_as.double()
    weights = g * (1 + odds) / (1 + g * odds)
    head = head_weights(hf, 0, 0)
    write_match_pattern(head, layout, torch.log1p(g * odds).to(counts_as.dtype), logits.sink)
    write_copy(head, layout)
    write_reading_units(hf, 0, layout, weights.to(counts_as.dtype))


def write_scoring_layer(hf: BertForSequenceClassification, layout: Layout, gain: float, log_idf: Tensor) -> None:
    """Layer 1: the scoring head. Its sink divides all weights by about e^16; its output multiplies that back.

    Chapter 3.
    """
    head = head_weights(hf, 1, 0)
    write_scoring_pattern(head, layout, log_idf)
    write_sum(head, layout, "tf", "score", gain * exp(SINK) * SMALL)
