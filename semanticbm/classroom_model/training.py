"""How the classroom model was made: a sentence encoder becomes a cross-encoder.

The backbone, all-MiniLM-L6-v2, was trained to turn *one* text into a vector. Here it learns to read two texts together.
Only small matrices are trained (LoRA: W + (alpha / r) B A with rank r = 16 in every linear map of every layer), plus the
pooler, the classifier and the token-type embeddings, which tell query from document. The word embeddings stay frozen, so
U0, the first singular direction of the embedding matrix, is the backbone's own: what later chapters find there was not
put there by this training.

**Loss.** For each group of one query and six passages:

    target = (1 - w) softmax(6 relevance) + w softmax(20 cosine)          cosine: the backbone's own similarity
    loss   = cross-entropy(target, softmax(scores)) + c * binary cross-entropy(scores, relevance)

The first term ranks inside a group. The second fixes the level of the score across queries, which a ranking loss leaves
free. `LOSSES` names the variants that were compared on the validation queries.

sentence-transformers' cross-encoder trainer runs it (checkpoints, resuming, early stopping, log) and peft holds the LoRA
matrices; this file adds the loss, the validation measure and the export. Validation decides when to stop; the held-out
queries are looked at once, after training.

When it misleads: one model is one draw. Train more seeds before believing a claim about heads.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder as TrainableCrossEncoder
from sentence_transformers import SentenceTransformer
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.sentence_transformer.evaluation import SentenceEvaluator
from torch import Tensor, nn
from transformers import EarlyStoppingCallback, TrainerCallback

from semanticbm import __version__
from semanticbm.classroom_model import data as training_data
from semanticbm.cross_encoder import CrossEncoder
from semanticbm.errors import UserError
from semanticbm.evaluation import ndcg
from semanticbm.ladder import (
    BACKBONE_REPO,
    BACKBONE_REVISION,
    BACKBONE_SHA256,
    backbone_folder,
    backbone_tokenizer,
    load_backbone_classifier,
)
from semanticbm.loading.checkpoints import sha256
from semanticbm.loading.files import write_text

# name: (weight of the backbone's cosine in the target, weight of the ranking term, weight of binary cross-entropy)
LOSSES = {"bce": (0.0, 0.0, 1.0), "softmax": (0.0, 1.0, 0.2), "softmax+cosine": (0.4, 1.0, 0.2)}


@dataclass(frozen=True)
class Recipe:
    """Every choice of a training run; written beside the weights."""

    loss: str = "softmax+cosine"
    seed: int = 1  # the shipped one: of 0, 1 and 2 the best on the validation queries
    max_steps: int = 520
    stop_after: int | None = None
    groups_per_step: int = 8
    learning_rate: float = 6e-4
    warmup_steps: int = 40
    rank: int = 16
    alpha: int = 32
    evaluate_every: int = 65
    patience: int = 4
    max_length: int = 192


class GroupLoss(nn.Module):
    """The loss of the module docstring for groups of passages; see `LOSSES` for the weights."""

    def __init__(self, model: TrainableCrossEncoder, kind: str = "softmax+cosine", chunk: int = 16):
        super().__init__()
        self.model, self.chunk = model, chunk
        self.cosine_weight, self.ranking_weight, self.level_weight = LOSSES[kind]

    def forward(self, inputs: list, labels: list[Tensor], prompt=None, task=None) -> Tensor:
        """`inputs`: queries [group], passages [group][document], cosines [group][document]; `labels`: relevance."""
        queries, passages, cosines = inputs
        pairs = [(query, passage) for query, group in zip(queries, passages, strict=True) for passage in group]
        relevance = torch.stack(labels).to(self.model.device)  # [group, document]
        scores = self.scores(pairs).view_as(relevance)
        target = (1 - self.cosine_weight) * (6 * relevance).softmax(-1)
        target = target + self.cosine_weight * (20 * torch.tensor(cosines).to(relevance)).softmax(-1)
        ranking = nn.functional.cross_entropy(scores, target)
        level = nn.functional.binary_cross_entropy_with_logits(scores, relevance)
        return self.ranking_weight * ranking + self.level_weight * level

    def scores(self, pairs: list[tuple[str, str]]) -> Tensor:
        """Logits of pairs, computed in chunks of similar length so that little is padding: float [pair]."""
        order = sorted(range(len(pairs)), key=lambda number: len(pairs[number][0]) + len(pairs[number][1]))
        parts = []
        for start in range(0, len(order), self.chunk):
            features = self.model.preprocess([pairs[number] for number in order[start : start + self.chunk]])
            features = {
                name: value.to(self.model.device) if isinstance(value, Tensor) else value
                for name, value in features.items()
            }
            parts.append(self.model(features)["scores"].view(-1))
        return torch.cat(parts)[torch.tensor(np.argsort(order))]


class RankingEvaluator(SentenceEvaluator):
    """nDCG@10 on the validation queries: graded queries and single-answer queries count half each."""

    def __init__(self, judgements: dict[str, dict[str, int]]):
        super().__init__()
        self.judgements = judgements
        self.primary_metric = "ndcg"

    def __call__(self, model, output_path=None, epoch=-1, steps=-1) -> dict[str, float]:
        values = ndcg(
            rank(lambda pairs: model.predict(pairs, batch_size=32, show_progress_bar=False), self.judgements),
            self.judgements,
        )
        graded = {query for query, grades in self.judgements.items() if sum(grade > 0 for grade in grades.values()) > 2}
        halves = [
            np.mean([value for query, value in values.items() if (query in graded) == side]) for side in (True, False)
        ]
        return {"ndcg": float(np.nanmean(halves)), "ndcg_graded": float(halves[0]), "ndcg_single": float(halves[1])}


class StopAfter(TrainerCallback):
    """End a run early without changing its learning-rate schedule: for comparing losses at the same step."""

    def __init__(self, step: int | None):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if self.step is not None and state.global_step >= self.step:
            control.should_training_stop = True


class Clock(TrainerCallback):
    """Seconds of training, kept in a file at each checkpoint, so that a resumed run counts what was done and no pause."""

    def __init__(self, file: Path):
        self.file, self.started = file, time.monotonic()
        self.before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else 0.0

    @property
    def seconds(self) -> float:
        """Time of this process and of those before it, up to their last checkpoint."""
        return self.before + time.monotonic() - self.started

    def on_train_begin(self, args, state, control, **kwargs):
        self.started = time.monotonic()

    def on_save(self, args, state, control, **kwargs):
        _write_json(self.file, self.seconds)


def rank(score: Callable, judgements: dict[str, dict[str, int]]) -> dict[str, dict[str, float]]:
    """Score every judged passage of every query: {query: {passage: score}}. `score` takes a list of pairs."""
    pairs = [(query, passage) for query, grades in judgements.items() for passage in grades]
    run: dict[str, dict[str, float]] = {query: {} for query in judgements}
    for (query, passage), value in zip(pairs, score(pairs), strict=True):
        run[query][passage] = float(value)
    return run


def backbone_vectors(texts: list[str], cache: Path) -> dict[str, np.ndarray]:
    """Unit vectors of the backbone for each text; kept in a file, because every seed needs nearly the same ones."""
    known = load_file(cache) if cache.is_file() else {}
    missing = sorted({text for text in texts if text_digest(text) not in known})
    if missing:
        encoder = SentenceTransformer(str(backbone_folder()), local_files_only=True)
        encoder.max_seq_length = 128
        vectors = encoder.encode(missing, batch_size=32, normalize_embeddings=True, show_progress_bar=True)
        known |= {text_digest(text): torch.tensor(vector) for text, vector in zip(missing, vectors, strict=True)}
        save_file(known, cache)
    return {text: known[text_digest(text)].numpy() for text in texts}


def text_digest(text: str) -> str:
    """A short name for a text in the vector file."""
    return hashlib.sha256(text.encode()).hexdigest()


def backbone_cosines(groups: list[training_data.Group], cache: Path) -> list[list[float]]:
    """The backbone's cosine between query and passage for each group: list [group][document]."""
    vectors = backbone_vectors([text for group in groups for text in (group.query, *group.passages)], cache)
    return [[float(vectors[group.query] @ vectors[passage]) for passage in group.passages] for group in groups]


def trainable_model(recipe: Recipe) -> TrainableCrossEncoder:
    """The backbone as a cross-encoder with LoRA matrices; dropout off, because the run is short."""
    torch.manual_seed(recipe.seed)
    model = TrainableCrossEncoder(
        str(backbone_folder()),
        num_labels=1,
        max_length=recipe.max_length,
        local_files_only=True,
        activation_fn=nn.Identity(),
        config_kwargs={"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    )
    model.add_adapter(
        LoraConfig(
            r=recipe.rank,
            lora_alpha=recipe.alpha,
            lora_dropout=0.0,
            modules_to_save=["pooler", "classifier", "token_type_embeddings"],
            target_modules=["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"],
        )
    )
    return model


def trainer_arguments(recipe: Recipe, folder: Path) -> CrossEncoderTrainingArguments:
    """The trainer's settings; checkpoints are whole training states, so that a killed run goes on where it stopped."""
    return CrossEncoderTrainingArguments(
        output_dir=str(folder / "checkpoints"),
        seed=recipe.seed,
        data_seed=recipe.seed,
        max_steps=recipe.max_steps,
        per_device_train_batch_size=recipe.groups_per_step,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup_steps,
        lr_scheduler_type="linear",
        weight_decay=0.01,
        logging_steps=10,
        eval_strategy="steps",
        eval_steps=recipe.evaluate_every,
        save_strategy="steps",
        save_steps=recipe.evaluate_every,
        save_total_limit=None,
        load_best_model_at_end=True,
        metric_for_best_model="eval_ndcg",
        greater_is_better=True,
        report_to=[],
        dataloader_num_workers=0,
        eval_on_start=True,
    )


def dataset(groups: list[training_data.Group], recipe: Recipe, cache: Path) -> Dataset:
    """Groups as columns for the trainer: query, passages, cosines (zeros if the loss does not use them), labels."""
    groups = groups[: recipe.max_steps * recipe.groups_per_step]
    cosines = (
        backbone_cosines(groups, cache) if LOSSES[recipe.loss][0] else [[0.0] * len(group.passages) for group in groups]
    )
    return Dataset.from_dict(
        {
            "query": [group.query for group in groups],
            "passages": [group.passages for group in groups],
            "cosines": cosines,
            "labels": [group.relevance for group in groups],
        }
    )


def train(folder: Path, data: Path, recipe: Recipe) -> Path:
    """Train one model into `folder`; call again with the same folder to resume. Returns the adapter's folder."""
    _check_same_recipe(folder, recipe)
    examples = training_data.build(data, recipe.seed)
    print("training data:", training_data.describe(examples), flush=True)
    model, clock = trainable_model(recipe), Clock(folder / "seconds.json")
    trainer = CrossEncoderTrainer(
        model=model,
        args=trainer_arguments(recipe, folder),
        train_dataset=dataset(examples.train, recipe, folder.parent / "backbone-vectors.safetensors"),
        loss=GroupLoss(model, recipe.loss),
        evaluator=RankingEvaluator(examples.validation),
        callbacks=[clock, EarlyStoppingCallback(early_stopping_patience=recipe.patience), StopAfter(recipe.stop_after)],
    )
    trainer.train(resume_from_checkpoint=bool(list((folder / "checkpoints").glob("checkpoint-*"))))
    _write_json(folder / "log.json", trainer.state.log_history)
    export(model, folder / "adapter", recipe, training_data.data_hashes(data), clock.seconds)
    return folder / "adapter"


def _check_same_recipe(folder: Path, recipe: Recipe) -> None:
    """A folder holds one run: refuse to resume it with other choices."""
    path = folder / "recipe.json"
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != asdict(recipe):
        raise UserError(f"{folder} holds a run with another recipe: choose another --out, or delete that folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            _write_json(path, asdict(recipe))
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror}): choose another --out.") from None


def _write_json(path: Path, content) -> None:
    write_text(path, json.dumps(content, indent=1))


def export(model: TrainableCrossEncoder, folder: Path, recipe: Recipe, hashes: dict[str, str], seconds: float) -> None:
    """Write the adapter in float16 with everything needed to check it: hashes of backbone, adapter and data."""
    folder.mkdir(parents=True, exist_ok=True)
    state = get_peft_model_state_dict(model.model, adapter_name="default")
    half = {f"base_model.model.{name}": value.to(torch.float16).contiguous() for name, value in state.items()}
    save_file(half, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = model.model.peft_config["default"].to_dict()
    config |= {"base_model_name_or_path": BACKBONE_REPO, "revision": BACKBONE_REVISION, "inference_mode": True}
    config["target_modules"] = sorted(config["target_modules"])
    _write_json(folder / "adapter_config.json", {key: value for key, value in config.items() if value is not None})
    _write_json(
        folder / "semanticbm.json",
        {
            "adapter_sha256": sha256(folder / "adapter_model.safetensors"),
            "backbone": BACKBONE_REPO,
            "backbone_revision": BACKBONE_REVISION,
            "backbone_sha256": BACKBONE_SHA256,
            "recipe": asdict(recipe),
            "parameters": sum(value.numel() for value in half.values()),
            "data_sha256": hashes,
            "seconds": round(seconds),
            "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads, {model.device.type}",
            "versions": {"semanticbm": __version__, "torch": torch.__version__, "python": platform.python_version()},
        },
    )


def train_and_examine(folder: Path, data: Path, recipe: Recipe, examine_it: bool = True) -> None:
    """Train (or resume), then measure the adapter on queries it has never seen; writes examination.json beside it."""
    from semanticbm.classroom_model.card import write_card, write_probe
    from semanticbm.classroom_model.examination import examine
    from semanticbm.ladder import load

    adapter = train(folder, data, recipe)
    write_probe(adapter)
    print(f"adapter written to {adapter}")
    if examine_it:
        report = examine(load(str(adapter)), data)
        _write_json(folder / "examination.json", report)
        write_card(adapter, report)
        for name, part in report.items():
            for system, row in part["ndcg@10"].items():
                print(f"{name:10} {system:15} nDCG@10 {row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]")


def heads_during_training(
    run: Path, steps: Sequence[int] = (65, 130, 260, 390), queries: int = 30, seed: int = 0
) -> list[dict]:
    """The head measurements of chapters 5 and 7 at the backbone and at some checkpoints of a run: JSON-ready.

    For each: rise of the matching score with 5 occurrences and same-token AUC, [layer, head], over `queries` queries of
    the classroom collection; mean direct effect [layer, head]; and the mean change of the score on TFC1 pairs.
    """
    found = [{"step": 0, **_measure_heads(load_backbone_classifier(seed), "backbone", queries, seed)}]
    for step in steps:
        checkpoint = run / "checkpoints" / f"checkpoint-{step}"
        hf = PeftModel.from_pretrained(load_backbone_classifier(seed), str(checkpoint)).merge_and_unload()
        found.append({"step": step, **_measure_heads(hf, f"step {step}", queries, seed)})
    return found


def _measure_heads(hf, name: str, n_queries: int, seed: int) -> dict:
    from semanticbm.collection import load_collection
    from semanticbm.diagnostics import Settings, diagnostic_pairs
    from semanticbm.matching import same_token_auc, tf_curves
    from semanticbm.path_patching import direct_effects_many

    model, collection = CrossEncoder(hf, backbone_tokenizer(), name), load_collection("classroom")
    queries = sorted(collection.queries)
    np.random.default_rng(seed).shuffle(queries)
    queries = queries[:n_queries]
    tf = tf_curves(model, collection, queries, 1, seed=seed).matching
    settings = Settings(documents_per_query=2, max_words=60, seed=seed)
    pairs = diagnostic_pairs("TFC1", collection, model.tokenizer, settings, queries).pairs
    effects = direct_effects_many(
        model, [pair.baseline_pair for pair in pairs], [pair.perturbed_pair for pair in pairs]
    )
    return {
        "rise": (tf[..., -1] - tf[..., 0]).mean(axis=0).tolist(),
        "auc": same_token_auc(model, collection, queries, 1, seed).mean().tolist(),
        "direct": (effects.effects.mean(axis=0)).tolist(),
        "score_change": float(effects.changes.mean()),
        "n_queries": len(queries),
    }
