"""Measures text models: loss against context, copying and spelling of what they write, beams (questions 2.1 to 2.3)."""

from pathlib import Path
from typing import Any, Literal, get_args

import torch

from datamodules.character_ids import split
from datamodules.library import read_book
from experiments import text_beams, text_cohesion, text_context, text_writing
from experiments.tables import Rows, print_table, save
from experiments.text_model import MeasuredModel, TextSplits
from models.networks.build import build_text_network
from training.errors import UserError
from training.loading import load_text_network, read_model
from training.seeds import check_seed

EXAMPLE = "python cli.py text --ckpt_paths '[runs/text_grimm]' --output_dir docs/results/text_grimm"

Measure = Literal["context", "writing", "cohesion", "beams"]

NEEDED = ("book", "encoding", "val_fraction", "test_fraction", "seq_len", "carry_state", "seed")
"""Arguments of the datamodule that say which text is measured, and how the model was trained."""

BEAM_ROWS_MAX = 1 << 20
"""The most hypotheses of all prompts together: each has a state of its own."""


def text(
    ckpt_paths: list[str],
    output_dir: str,
    measures: list[Measure] | None = None,
    book: str | None = None,
    contexts: list[int] | None = None,
    num_positions: int = 10_000,
    taus: list[float] | None = None,
    num_samples: int = 20,
    length: int = 1000,
    beams: list[int] | None = None,
    num_prompts: int = 100,
    beam_length: int = 100,
    untrained: bool = False,
    seed: int = 0,
) -> None:
    """Measure what text models have learned, on the validation split of their book.

    context: the loss of the next character after a given number of characters, with a state of zeros before them.
    writing: the samples' 15-grams that occur in the training text, longest match with it, words that do not occur in
    it, distinct n-grams, closed quotations; the same for the validation text. cohesion: how much more often a word
    of five letters or more is repeated in a sample than between samples, against the distance. beams: log probability,
    repetition and words of beam searches. Writes <measure>.csv and the figures <measure>.png and <measure>.svg.

    Args:
        ckpt_paths: checkpoints, run folders or experiment folders of TextModels (of a folder the best checkpoint), all
            trained on the same text.
        output_dir: folder for the files.
        measures: context, writing, cohesion, beams; all by default.
        book: the book that they were trained on, a name or a path; by default the one in the first checkpoint's config.
        contexts: numbers of characters read, each at least 1; 1, 2, 3, 5, 10, 20, 30, 50, 100, 200 and 500 by default.
        num_positions: characters whose loss is measured, evenly spaced; all if there are fewer.
        taus: factors of the logits, at least 0; .inf is greedy. 0.5, 0.75, 1, 1.5, 2, 3 and .inf by default.
        num_samples: texts for each checkpoint and tau.
        length: characters of a sample.
        beams: sizes of beams, ascending; 1, 2, 5, 10 and 50 by default.
        num_prompts: prompts of the beam searches; the same for each size.
        beam_length: characters that a beam search generates.
        untrained: also measure a network with random weights, as step 0, with the first checkpoint's arguments.
        seed: random seed of the samples, and of the weights of the untrained network.
    """
    chosen = list(get_args(Measure)) if measures is None else measures
    contexts = [1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 500] if contexts is None else contexts
    taus = [0.5, 0.75, 1.0, 1.5, 2.0, 3.0, float("inf")] if taus is None else taus
    beams = [1, 2, 5, 10, 50] if beams is None else beams
    check_seed(seed)
    if not ckpt_paths:
        raise UserError("ckpt_paths is empty; give at least one checkpoint or run folder")
    for name, values, least in (
        ("measures", chosen, ""), ("contexts", contexts, 1), ("taus", taus, 0), ("beams", beams, 1),
        ("num_positions", [num_positions], 1), ("num_samples", [num_samples], 1), ("length", [length], 1),
        ("num_prompts", [num_prompts], 1), ("beam_length", [beam_length], 1),
    ):  # fmt: skip
        check_values(name, values, least)
    if max(beams) * num_prompts > BEAM_ROWS_MAX:
        raise UserError(
            f"beams has {max(beams)} and num_prompts is {num_prompts}: {max(beams) * num_prompts} hypotheses; the "
            f"limit is {BEAM_ROWS_MAX}, so lower one of them"
        )
    models, texts = load(ckpt_paths, book, seed if untrained else None)
    folder = Path(output_dir)
    for measure in chosen:
        if measure == "context":
            rows: Rows = text_context.measure(models, texts, sorted(contexts), num_positions)
            save(rows, text_context.draw, folder, measure)
        elif measure == "writing":
            rows = text_writing.measure(models, texts, sorted(taus), num_samples, length, seed)
            save(rows, text_writing.draw, folder, measure)
            rows = text_writing.summarize(rows)
        elif measure == "cohesion":
            rows = text_cohesion.measure(models, texts, sorted(taus), num_samples, length, seed)
            save(rows, text_cohesion.draw, folder, measure)
        else:
            rows = text_beams.measure(models, texts, sorted(beams), num_prompts, beam_length)
            save(rows, text_beams.draw, folder, measure)
            rows = text_beams.summarize(rows)
        print_table(rows)


def check_values(name: str, values: list[Any], least: Any) -> None:
    """Refuse an empty list, a value that occurs twice, or one below ``least`` (NaN too)."""
    if not values:
        raise UserError(f"{name} is empty; give at least one value, or leave it out")
    for value in values:
        if not value >= least:
            raise UserError(f"{name} has {value}; it must be at least {least}")
        if values.count(value) > 1:
            raise UserError(f"{name} has {value} more than once; give each once")


def load(ckpt_paths: list[str], book: str | None, seed: int | None) -> tuple[list[MeasuredModel], TextSplits]:
    """The networks, and the training and validation text that they have in common.

    Args:
        ckpt_paths: of the networks.
        book: a name or a path; None for the book in the first checkpoint's config.
        seed: of the weights of an untrained network, which is added if it is not None.
    Raises:
        UserError: a checkpoint cannot be used, two are equal, or the book is not the one that they were trained on.
    """
    models: list[MeasuredModel] = []
    for ckpt_path in ckpt_paths:
        path, network, vocabulary = load_text_network(ckpt_path)
        _, checkpoint, arguments = read_model(ckpt_path, "TextModel")
        data = checkpoint["config"]["data"]
        options, state = data["init_args"], checkpoint[data["class_path"].rpartition(".")[2]]
        missing = [key for key in NEEDED if key not in options]
        if missing:
            raise UserError(f"{path} was trained with data that have no {missing[0]}; give one of BookDataModule")
        text_of_model = state.get("sha256"), options["val_fraction"], options["test_fraction"]
        if not models:
            book = book or options["book"]
            read, text_of_first = read_book(book, options["encoding"]), text_of_model
        if read.sha256 != text_of_model[0]:
            raise UserError(f"book is {book}, but {path} was trained on another text; give that text with --book")
        if text_of_model != text_of_first:
            raise UserError(f"{path} was trained with other splits than {models[0].path}; measure it separately")
        settings = {key: options[key] for key in ("seq_len", "carry_state", "seed")}
        settings |= {"step": checkpoint.get("global_step", 0)}
        if not models and seed is not None:
            torch.manual_seed(seed)
            random = build_text_network(**arguments | {"vocab_size": len(vocabulary)}).eval()
            models.append(MeasuredModel(path, random, settings | {"step": 0}))
        if any(settings == other.settings for other in models):
            raise UserError(f"ckpt_paths: {path} has the same settings and step as another; give each once")
        models.append(MeasuredModel(path, network, settings))
    parts = split(read.ids, *text_of_first[1:])
    return models, TextSplits(parts["train"], parts["val"], read.vocabulary)
