"""Generates text with a trained model: samples, beam search, interactive prompts (questions 2.1c, 2.2 and 2.3)."""

import contextlib
import json as json_format
import logging
import math
import sys
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from datamodules.text_file import read_string
from models.generation import OnUnknown, TextGenerator, check_together, decoding_options
from training.errors import UserError
from training.loading import load_text_network

log = logging.getLogger(__name__)

EXAMPLE = 'python cli.py generate --ckpt_path runs/text_grimm --prompt "Sleeping beauty is"'

WEIGHTS_PER_THREAD = 250_000
"""A step mainly reads the weights. With fewer weights per thread than this, another thread makes it slower."""

Show = Callable[[TextGenerator, str], None]


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
    """Complete a prompt with a text model.

    By default, each character is the most probable one. With tau, temperature, top_k, top_p, seed or several samples,
    characters are sampled. With beam, a beam search looks for the most probable text.

    Args:
        ckpt_path: checkpoint, run folder or experiment folder of a TextModel (of a folder the best checkpoint).
        prompt: the text to complete; without a prompt the text begins after a line end.
        prompt_file: a file with the prompt.
        length: characters to generate after the prompt, at least 1.
        num_samples: number of completions, at least 1; of a beam search the best.
        tau: the logits are multiplied by this before sampling, at least 0. 1 samples from the model's distribution, a
            larger value prefers probable characters, and 0 gives all characters the same probability.
        temperature: 1 / tau; 0 takes the most probable character.
        top_k: sample from the k most probable characters only, at least 1.
        top_p: sample from the smallest set of most probable characters with this total probability, in (0, 1].
        beam: hypotheses of the beam search, at least 1; 1 is greedy.
        stop: a text ends as soon as it ends with this string.
        length_penalty: exponent a of the score log probability / length ** a, from 0 to 10, for beam with stop; 1 by
            default.
        seed: random seed of sampling; by default a new one each time, which is printed.
        on_unknown: what to do with characters of the prompt that are not in the vocabulary: error; skip; or replace, by
            the letter without its accent, the letter in the other case, or a space.
        stream: print each character as soon as it is generated.
        json: print one JSON object.
        interactive: read prompts from the standard input, one in each line.
    """
    check_together(
        dict(locals()),
        ("prompt", "prompt_file", "both give the prompt"),
        ("interactive", "prompt", "interactive reads prompts from the input"),
        ("interactive", "prompt_file", "interactive reads prompts from the input"),
        ("stream", "json", "stream prints a text in parts, and json prints it whole"),
        ("beam", "stream", "a beam search has its best text only at the end"),
    )
    options = decoding_options(length, num_samples, tau, temperature, top_k, top_p, beam, stop, length_penalty, seed)
    path, network, vocabulary = load_text_network(ckpt_path)
    generator = TextGenerator(network, vocabulary, options, on_unknown)
    num_threads = generator.network.num_weights // WEIGHTS_PER_THREAD
    torch.set_num_threads(max(1, min(torch.get_num_threads(), num_threads)))
    text = generator.prompt(prompt if prompt_file is None else read_string(Path(prompt_file)))
    if options.seed is not None and seed is None and not json:
        log.info("--seed %d generates the same text again.", options.seed)
    streams = stream or (interactive and beam is None)
    show: Show = partial(show_json, path) if json else partial(show_text, streams=streams)
    if interactive:
        answer_prompts(generator, show)
    else:
        show(generator, text)


def show_text(generator: TextGenerator, prompt: str, streams: bool) -> None:
    """Print the prompt and its completions, a stream character by character; several have a heading each."""
    for number, completion in enumerate(generator.complete(prompt, streams), start=1):
        heading = f"--- {number}"
        if completion.log_prob is not None:
            heading += f", log probability {completion.log_prob:.2f}"
            heading += f", score {completion.score:.3f}" if generator.options.stop else ""
        if generator.options.num_samples > 1:
            print(heading)
        for part in chain([prompt], completion.parts):
            print(part, end="", flush=True)
        print(flush=True)


def show_json(path: Path, generator: TextGenerator, prompt: str) -> None:
    """Print a JSON object with the completions and everything that is needed to reproduce them."""
    options = generator.options
    decoding: dict[str, Any] = {"decoding": "greedy"}
    if options.beam is not None:
        decoding = {"decoding": "beam", "length_penalty": options.length_penalty}
    elif options.seed is not None:
        tau = options.tau if math.isfinite(options.tau) else "inf"
        decoding = {"decoding": "sampling", "tau": tau, "top_k": options.top_k, "top_p": options.top_p}
    samples = []
    for parts, log_prob, score in generator.complete(prompt):
        measured = {} if log_prob is None else {"log_prob": log_prob, "score": score}
        samples.append({"text": "".join(parts), **measured})
    chosen = {name: getattr(options, name) for name in ("beam", "seed", "length", "stop")}
    answer = {"checkpoint": str(path), **decoding, **chosen, "prompt": prompt, "samples": samples}
    is_utf8 = str(getattr(sys.stdout, "encoding", "")).lower().startswith("utf")
    print(json_format.dumps(answer, ensure_ascii=not is_utf8), flush=True)


def answer_prompts(generator: TextGenerator, show: Show) -> None:
    """Complete each line of the standard input."""
    if sys.stdin is None:
        raise UserError("interactive reads the standard input, but it is closed; leave it open")
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        with contextlib.suppress(ImportError):  # some builds of Python lack it
            import readline  # noqa: F401 - editing and a history for input()

        print("Type the beginning of a text and Enter. Ctrl-D ends.", file=sys.stderr)
    while True:
        try:
            text = input("> " if is_terminal else "")
        except EOFError:
            return
        try:
            show(generator, generator.prompt(text))
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
