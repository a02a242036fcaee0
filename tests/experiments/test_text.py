"""Measures of text models against brute force, and against the network read character by character."""

import csv
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import cli
from datamodules.character_ids import split
from datamodules.library import read_book
from datamodules.vocabulary import Vocabulary
from experiments import text_beams, text_cohesion, text_context, text_writing
from experiments.plotting import mean_and_interval
from experiments.text import load
from experiments.text_model import TextSplits, starts
from experiments.text_overlap import Searched
from models.networks.stacked_lstm import StackedLSTM
from training.loading import load_text_network

SMALL = (
    *("--contexts=[1,7,40]", "--num_positions=150", "--taus=[1,.inf]", "--num_samples=3", "--length=60"),
    *("--beams=[1,4]", "--num_prompts=2", "--beam_length=12"),
)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@given(st.text("ab", min_size=1, max_size=40), st.text("abc", min_size=1, max_size=20))
@settings(max_examples=200, deadline=None)
def test_longest_matches_equal_brute_force(text: str, sample: str) -> None:
    theirs = [max(n for n in range(len(sample) - i + 1) if sample[i : i + n] in text) for i in range(len(sample))]
    ids = np.array(["abc".index(character) for character in text], np.uint8)
    assert list(Searched(text, ids).longest_matches(sample)) == theirs


@pytest.mark.parametrize(
    ("text", "opened", "closed"),
    [
        ("‘Come,’ said he. ‘I don’t.’", 2, 2),
        ("‘Come, said he. ‘I don’t.’", 2, 1),
        ("‘I don’t know, said he. ‘Go.’ and ‘the rest", 2, 1),
        ("“One” “two “three”", 3, 2),
        ("’tis", 0, 0),
    ],
)
def test_quotations(text: str, opened: int, closed: int) -> None:
    assert text_writing.quotations(text) == (opened, closed)


def test_measures_of_a_text() -> None:
    train, sample = "the king went into the dark wood. ", "The king went into a wud. A wud, a king wen"
    ids = np.unique(list(train), return_inverse=True)[1].astype(np.uint8)
    ours = text_writing.measures_of(sample, Searched(train, ids), set(train.replace(".", "").split()))
    n_grams = [sample[i : i + 15] for i in range(len(sample) - 14)]
    assert ours["copied"] == sum(n_gram in train for n_gram in n_grams) / len(n_grams) > 0
    assert ours["longest_match"] == len("he king went into ")
    # the king went into a wud a wud a king; the text ends within the last word
    assert ours["unknown_words"] == pytest.approx(5 / 10)
    assert ours["distinct_words"] == pytest.approx(6 / 10) and ours["distinct_word_pairs"] == pytest.approx(7 / 9)


def test_a_loss_depends_on_the_context_alone() -> None:
    torch.manual_seed(1)
    network = StackedLSTM(5, hidden_size=6, embedding_size=3).eval()
    ids = np.random.default_rng(1).integers(5, size=200).astype(np.uint8)
    texts = TextSplits(ids, ids, Vocabulary("abcde"))
    positions = np.array([30, 31, 77, 199])
    for context in (1, 4, 30):
        ours = text_context.losses_after(network, texts, positions, context)
        for loss, position in zip(ours, positions, strict=True):
            state = None
            for character in ids[position - context : position]:
                logits, state = network(torch.tensor([[int(character)]]), state)
            theirs = -logits[0, -1].log_softmax(0)[int(ids[position])].item()
            assert loss == pytest.approx(theirs, abs=1e-5)


def test_starts_are_beginnings_of_words_in_order() -> None:
    book = read_book("python_reference")
    texts = TextSplits(book.ids, book.ids[:5000], book.vocabulary)
    places = starts(texts, 20, 200)
    val = book.vocabulary.decode(book.ids[:5000].tolist())
    assert places == sorted(set(places)) and places[0] >= 100 and places[-1] + 200 <= 5000
    assert all(val[place - 1].isspace() and not val[place].isspace() for place in places)


def test_the_command(text_run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ["text", f"--ckpt_paths=[{text_run_dir}]", f"--output_dir={out}", "--untrained", *SMALL]
    assert cli.main(words) == 0
    assert {path.name for path in out.iterdir()} == {
        "about.json",
        *(f"{name}.{kind}" for name in ("context", "writing", "cohesion", "beams") for kind in ("csv", "png", "svg")),
    }
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    assert cli.main(words) == 0 and first == {path.name: path.read_bytes() for path in out.iterdir()}

    path, _, vocabulary = load_text_network(str(text_run_dir))
    step = str(torch.load(path, weights_only=True)["global_step"])
    context = rows_of(out / "context.csv")
    assert [(row["step"], row["context"]) for row in context] == [(s, c) for s in ("0", step) for c in ("1", "7", "40")]
    assert all(float(row["excess"]) == 0 for row in context if row["context"] == "40")
    assert all(float(row["loss_low"]) <= float(row["loss"]) <= float(row["loss_high"]) for row in context)

    writing = rows_of(out / "writing.csv")
    assert [row["tau"] for row in writing] == [*(["1.0"] * 3 + ["inf"] * 3) * 2, *["validation text"] * 3]

    beams = rows_of(out / "beams.csv")
    assert [(row["step"], row["beam"]) for row in beams[::2]] == [(s, k) for s in ("0", step) for k in ("1", "4")]
    _, texts = load([str(text_run_dir)], None, None)
    place = starts(texts, 2, 12)[0]
    prompt = vocabulary.decode(texts.val[place - 100 : place].tolist())
    capsys.readouterr()
    assert cli.main(["generate", f"--ckpt_path={path}", f"--prompt={prompt}", "--length=12", "--beam=4", "--json"]) == 0
    said = float(capsys.readouterr().out.split('"log_prob": ')[1].split(",")[0])
    assert float(beams[6]["log_prob"]) == pytest.approx(said)


def test_how_often_a_wider_beam_is_worse() -> None:
    found = {1: [-3.0, -2.0, -5.0, -4.0], 2: [-3.5, -2.0, -1.0, -4.5]}
    rows = [
        {"step": 1, "beam": beam, "prompt": k, "log_prob": value, "repeated": 0.0, "distinct_words": 1.0}
        for beam, values in found.items()
        for k, value in enumerate(values)
    ]
    table = text_beams.summarize(rows)
    assert [row["less_probable"] for row in table] == [0, 0.5]
    assert table[1]["log_prob"] == pytest.approx(-2.75)


def test_the_splits_are_those_of_training(text_run_dir: Path) -> None:
    models, texts = load([str(text_run_dir)], None, 3)
    book = read_book(str(text_run_dir.parents[2] / "book.txt"))
    parts = split(book.ids, 0.05, 0.05)
    assert np.array_equal(texts.val, parts["val"]) and np.array_equal(texts.train, parts["train"])
    assert models[0].settings["step"] == 0 and len(models) == 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--ckpt_paths=[]"], "ckpt_paths is empty"),
        (["--ckpt_paths=[{run},{run}]"], "has the same settings and step as another; give each once"),
        (["--ckpt_paths=[/no/such/run]"], "/no/such/run"),
        (["--book=/no/such/book"], "book is '/no/such/book': no such file"),
        (["--book=python_reference"], "was trained on another text; give that text with --book"),
        (["--contexts=[0,1]"], "contexts has 0; it must be at least 1"),
        (["--contexts=[1,400]"], "contexts has 400, but the validation text has"),
        (["--taus=[-1]"], "taus has -1.0; it must be at least 0"),
        (["--taus=[.nan]"], "taus has nan; it must be at least 0"),
        (["--taus=[1,1]"], "taus has 1.0 more than once"),
        (["--beams=[]"], "beams is empty"),
        (["--beams=[1000000]"], "the limit is"),
        (["--length=10000"], "too few for 3 texts of 10000"),
        (["--measures=[style]"], "measures"),
        (["--output_dir=/dev/null/x"], "cannot write to /dev/null/x"),
    ],
)
def test_wrong_input_ends_in_one_line(
    args: list[str], message: str, text_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = [word.replace("{run}", str(text_run)) for word in args]
    words = [f"--ckpt_paths=[{text_run}]", f"--output_dir={tmp_path / 'out'}", *SMALL, *args]
    capsys.readouterr()
    assert cli.main(["text", *words]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


@pytest.fixture(scope="module")
def text_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that all wrong inputs share."""
    from tests.conftest import write_text_config

    folder = tmp_path_factory.mktemp("text")
    config = write_text_config(folder)
    assert cli.main(["fit", f"--config={config}", f"--trainer.default_root_dir={folder / 'runs'}"]) == 0
    return folder / "runs" / "text" / "version_0"


def test_a_share_of_nothing_is_not_a_number() -> None:
    assert math.isnan(text_writing.share([])) and text_writing.share([True, False]) == 0.5


WORDS = st.lists(st.sampled_from(["crown", "wolves", "apple", "the", "Apple"]), max_size=12)


@given(st.lists(WORDS, min_size=2, max_size=5))
@settings(max_examples=100, deadline=None)
def test_cohesion_equals_brute_force(samples: list[list[str]]) -> None:
    found = []  # the number of the text, the place and the word
    for k, sample in enumerate(samples):
        for j, word in enumerate(sample[:-1]):  # the end of a text may have cut its last word
            if len(word) >= 5:
                found.append((k, sum(len(other) + 1 for other in sample[:j]), word.lower()))
    pairs = list(itertools.combinations(found, 2))
    apart = [a[2] == b[2] for a, b in pairs if a[0] != b[0]]
    ours = {(row["from"], row["to"]): row for row in text_cohesion.cohesion([" ".join(sample) for sample in samples])}
    for low, high in itertools.pairwise(text_cohesion.DISTANCES):
        equal = [a[2] == b[2] for a, b in pairs if a[0] == b[0] and low <= b[1] - a[1] < high]
        row = ours[low, high]
        assert row["pairs"] == len(equal) and (equal or math.isnan(row["ratio"]))
        if equal and any(apart):
            assert row["chance"] == pytest.approx(sum(apart) / len(apart))
            assert row["ratio"] == pytest.approx(sum(equal) / len(equal) / row["chance"])


def test_the_jackknife_of_a_mean_is_students_interval() -> None:
    logarithms = [0.3, -0.2, 0.5, 0.1, 0.0]
    without_one = [math.exp((sum(logarithms) - value) / 4) for value in logarithms]
    mean, low, high = mean_and_interval(logarithms)
    assert text_cohesion.jackknife(math.exp(mean), without_one) == pytest.approx((math.exp(low), math.exp(high)))
    assert all(map(math.isnan, text_cohesion.jackknife(0.0, without_one)))
