"""Letting a text model write: completions, samples, beam search, a conversation (questions 2.1c, 2.2 and 2.3)."""

import contextlib
import json as json_format
import logging
import math
import secrets
import sys
from pathlib import Path
from typing import Any

import torch

from datamodules.text_file import read_string
from experiments.trained_text import load_text
from experiments.writer import OnUnknown, Ways, Writer
from training.errors import UserError
from training.seeds import SEED_MAX, check_seed

log = logging.getLogger(__name__)

EXAMPLE = 'python cli.py generate --ckpt_path runs/text_grimm --prompt "Sleeping beauty is"'

CHARACTERS_MAX = 1 << 24
"""Characters of all samples, or of all hypotheses of a beam: for each some bytes are kept."""

BEAM_MAX = 10_000

LENGTH_PENALTY_MAX = 10

WEIGHTS_OF_A_THREAD = 250_000
"""A step is little more than reading its weights; with fewer than that, another thread costs more than it does."""

SAMPLING = ("tau", "temperature", "top_k", "top_p")


def generate(
    ckpt_path: str,
    prompt: str = "",
    prompt_file: str | None = None,
    length: int = 200,
    num_samples: int = 1,
    tau: float | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    beam: int | None = None,
    stop: str = "",
    length_penalty: float | None = None,
    seed: int | None = None,
    on_unknown: OnUnknown = "error",
    stream: bool = False,
    json: bool = False,
    interactive: bool = False,
) -> None:
    """Let a text model complete a prompt.

    Without tau, temperature, top_k, top_p, seed or several samples it takes the most probable character each time;
    with any of them it draws. With beam it looks for the most probable text.

    Args:
        ckpt_path: checkpoint, run folder or experiment's folder of a TextModel (of a folder the best).
        prompt: the text to be completed; without one the text begins with a new line.
        prompt_file: a file with the prompt.
        length: characters to be written, after the prompt, at least 1.
        num_samples: how many completions, at least 1; of a beam, its best.
        tau: what the logits are multiplied by before a character is drawn, at least 0; 1 draws as the model predicts, a
            larger one is greedier, 0 takes any character.
        temperature: the same the other way round, 1 / tau; 0 takes the most probable.
        top_k: draw from the k most probable characters only, at least 1.
        top_p: draw from the fewest most probable characters that have this probability together, above 0, at most 1.
        beam: hypotheses of a beam search, at least 1; 1 is greedy.
        stop: a text ends when it ends with this.
        length_penalty: with beam and stop, texts are judged by log probability / length ** this, from 0 to 10; 1 by
            default.
        seed: decides what is drawn, if anything; by default another one each time, which is told.
        on_unknown: what becomes of characters of the prompt that the model has never seen: error, skip, or replace, by
            the same letter without an accent, in the other case, or a space.
        stream: show each character as soon as it is written.
        json: print one JSON object.
        interactive: ask for one prompt after the other, until the input ends.
    """
    given = dict(locals())
    check_numbers(given)
    check_together(given)
    if temperature is not None:
        tau = math.inf if temperature == 0 else 1 / temperature
    draws = beam is None and (num_samples > 1 or any(given[name] is not None for name in (*SAMPLING, "seed")))
    tells_seed = draws and seed is None and not json
    if draws and seed is None:
        seed = secrets.randbelow(SEED_MAX + 1)
    penalty = 1.0 if length_penalty is None else length_penalty
    ways = Ways(length, num_samples, tau, top_k, top_p, beam, stop, penalty, seed if draws else None)
    trained = load_text(ckpt_path)
    torch.set_num_threads(max(1, min(torch.get_num_threads(), trained.network.num_weights // WEIGHTS_OF_A_THREAD)))
    writer = Writer(trained, ways, on_unknown)
    streams = stream or (interactive and beam is None)
    show = show_json if json else show_stream if streams else show_text
    beginning = writer.prompt(text_of_prompt(prompt, prompt_file))
    if tells_seed:
        log.info("--seed %d gives the same again.", seed)
    if interactive:
        converse(writer, show)
    else:
        show(writer, beginning)


def show_text(writer: Writer, prompt: str) -> None:
    """Print the prompt with what follows; several, each under a line of its own."""
    if writer.ways.beam is None:
        headings, texts = [""] * writer.ways.num_samples, writer.complete(prompt)
    else:
        found = writer.search(prompt)
        headings = [f", log probability {one.log_prob:.2f}" for one in found]
        if writer.ways.stop:
            headings = [f"{heading}, score {one.score:.3f}" for heading, one in zip(headings, found, strict=True)]
        texts = [writer.vocabulary.decode(one.ids) for one in found]
    for number, (heading, text) in enumerate(zip(headings, texts, strict=True), start=1):
        if len(texts) > 1:
            print(f"--- {number}{heading}")
        print(prompt + text)


def show_stream(writer: Writer, prompt: str) -> None:
    """The same, each character as soon as it is there."""
    for number, characters in enumerate(writer.stream(prompt), start=1):
        if writer.ways.num_samples > 1:
            print(f"--- {number}")
        print(prompt, end="", flush=True)
        for character in characters:
            print(character, end="", flush=True)
        print(flush=True)


def show_json(writer: Writer, prompt: str) -> None:
    """Print one JSON object, with the completions and all that is needed to have them again."""
    ways = writer.ways
    if ways.beam is None:
        samples: list[dict[str, Any]] = [{"text": text} for text in writer.complete(prompt)]
    else:
        samples = [
            {"text": writer.vocabulary.decode(one.ids), "log_prob": one.log_prob, "score": one.score}
            for one in writer.search(prompt)
        ]
    drawn: dict[str, Any] = {}
    if ways.seed is not None:
        tau = 1.0 if ways.tau is None else ways.tau
        drawn = {"tau": tau if math.isfinite(tau) else "inf", "top_k": ways.top_k, "top_p": ways.top_p}
    how = "beam" if ways.beam is not None else "greedy" if ways.seed is None else "sampling"
    answer = {"checkpoint": str(writer.trained.path), "decoding": how, "beam": ways.beam, **drawn, "seed": ways.seed}
    if ways.beam is not None:
        answer["length_penalty"] = ways.length_penalty
    answer |= {"length": ways.length, "stop": ways.stop, "prompt": prompt, "samples": samples}
    print(json_format.dumps(answer, ensure_ascii=False), flush=True)


def converse(writer: Writer, show: Any) -> None:
    """Complete one line of the input after the other."""
    if sys.stdin is None:
        raise UserError("interactive reads the standard input, which is closed; leave it open")
    asks = sys.stdin.isatty()
    if asks:
        with contextlib.suppress(ImportError):  # some Pythons are without
            import readline  # noqa: F401 - editing and a history for input()

        print("Give the beginning of a text; an empty line for none, Ctrl-D to end.", file=sys.stderr)
    while True:
        try:
            text = input("> " if asks else "")
        except EOFError:
            return
        try:
            show(writer, writer.prompt(text))
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)


def text_of_prompt(prompt: str, prompt_file: str | None) -> str:
    """The prompt, wherever it is."""
    return prompt if prompt_file is None else read_string(Path(prompt_file).expanduser())


def check_numbers(given: dict[str, Any]) -> None:
    """Refuse numbers that are out of their range.

    Args:
        given: the arguments of ``generate``.
    """
    for name in ("length", "num_samples", "top_k", "beam"):
        if given[name] is not None and given[name] < 1:
            raise UserError(f"{name} is {given[name]}; it must be at least 1")
    if given["beam"] is not None and given["beam"] > BEAM_MAX:
        raise UserError(f"beam is {given['beam']}; it must be at most {BEAM_MAX}")
    for name in ("tau", "temperature"):
        if given[name] is not None and not given[name] >= 0:
            raise UserError(f"{name} is {given[name]}; it must be at least 0")
    if given["length_penalty"] is not None and not 0 <= given["length_penalty"] <= LENGTH_PENALTY_MAX:
        raise UserError(f"length_penalty is {given['length_penalty']}; it must be from 0 to {LENGTH_PENALTY_MAX}")
    if given["top_p"] is not None and not 0 < given["top_p"] <= 1:
        raise UserError(f"top_p is {given['top_p']}; it must be above 0 and at most 1")
    if given["seed"] is not None:
        check_seed(given["seed"])
    name = "num_samples" if given["beam"] is None else "beam"
    num_characters = given[name] * given["length"]
    if num_characters > CHARACTERS_MAX:
        raise UserError(
            f"{name} is {given[name]} and length {given['length']}: that is {num_characters} characters; it must be at "
            f"most {CHARACTERS_MAX}, so lower one of them"
        )


def check_together(given: dict[str, Any]) -> None:
    """Refuse what contradicts itself.

    Args:
        given: the arguments of ``generate``.
    """
    if given["tau"] is not None and given["temperature"] is not None:
        raise UserError(
            f"tau is {given['tau']} and temperature {given['temperature']}; one is the inverse of the other; give one"
        )
    if given["prompt"] and given["prompt_file"] is not None:
        raise UserError("prompt and prompt_file are both given; give one")
    if given["interactive"] and (given["prompt"] or given["prompt_file"] is not None):
        raise UserError("interactive asks for prompts; leave prompt and prompt_file out")
    if given["stream"] and given["json"]:
        raise UserError("stream shows a text as it is written, json when it is complete; give one of them")
    if given["length_penalty"] is not None and (given["beam"] is None or not given["stop"]):
        raise UserError(f"length_penalty is {given['length_penalty']}; it is for a beam with a stop, so leave it out")
    if given["beam"] is None:
        return
    for name in SAMPLING:
        if given[name] is not None:
            raise UserError(
                f"beam is {given['beam']} and {name} {given[name]}; a beam search draws nothing, so give one"
            )
    if given["stream"]:
        raise UserError("a beam search knows its best text only at the end; leave stream out, or beam")
    if given["num_samples"] > given["beam"]:
        raise UserError(
            f"num_samples is {given['num_samples']}; a beam search has at most beam = {given['beam']}, so raise beam"
        )
