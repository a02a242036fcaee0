"""The command generates the same text as the functions of ``models.decoding``, and refuses wrong input."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import cli
from models.decoding import beam_search, greedy, read, write
from models.networks.stacked_lstm import CharacterSteps
from training.loading import load_text_network

Generate = Any


@pytest.fixture
def generate(text_run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Generate:
    """Runs ``generate`` on the small text model after its book was deleted; returns exit status, stdout and stderr."""
    (tmp_path / "book.txt").unlink()
    capsys.readouterr()

    def run(*args: str) -> tuple[int, str, str]:
        status = cli.main(["generate", f"--ckpt_path={text_run_dir}", *args])
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture(autouse=True)
def threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_second_thread_is_for_large_models(generate: Generate, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(2)
    generate("--length", "5")
    assert torch.get_num_threads() == 1
    torch.set_num_threads(2)
    monkeypatch.setattr("experiments.generate.WEIGHTS_PER_THREAD", 10)
    generate("--length", "5")
    assert torch.get_num_threads() == 2


def continuation(run: Path, prompt: str, choose: Any, length: int) -> str:
    _, network, vocabulary = load_text_network(str(run))
    steps, ids = CharacterSteps(network), torch.tensor([vocabulary.encode(prompt)])
    logits, state = read(steps, ids, steps.start(1))
    return vocabulary.decode(int(i) for i in write(steps, logits, state, choose, length))


def test_it_completes_the_prompt(generate: Generate, text_run_dir: Path) -> None:
    status, out, err = generate("--prompt", "The king", "--length", "40")
    assert (status, err) == (0, "")
    assert out == "The king" + continuation(text_run_dir, "The king", greedy, 40) + "\n"
    assert generate("--prompt", "The king", "--length", "40") == (0, out, "")
    assert generate("--prompt", "The king", "--length", "40", "--stream") == (0, out, "")
    assert generate("--prompt", "The king", "--length", "40", "--beam", "1") == (0, out, "")
    assert generate("--prompt", "The king", "--length", "40", "--tau", "inf", "--seed", "3") == (0, out, "")
    assert generate("--prompt", "The king", "--length", "40", "--temperature", "0", "--seed", "3") == (0, out, "")
    assert generate("--prompt", "The king", "--length", "40", "--top_k", "1", "--seed", "3") == (0, out, "")


def test_without_a_prompt_it_begins_a_line(generate: Generate, text_run_dir: Path) -> None:
    _, out, _ = generate("--length", "30")
    assert out == continuation(text_run_dir, "\n", greedy, 30) + "\n"


def test_a_seed_reproduces_the_text(generate: Generate, caplog: pytest.LogCaptureFixture) -> None:
    args = ("--prompt", "The", "--length", "60", "--tau", "0.5")
    first = generate(*args, "--seed", "5")
    assert first == generate(*args, "--seed", "5") == generate(*args, "--seed", "5", "--stream")
    assert first[1] == generate("--prompt", "The", "--length", "60", "--temperature", "2", "--seed", "5")[1]
    assert first[1] != generate(*args, "--seed", "6")[1]
    status, out, _ = generate(*args)
    (seed,) = re.findall(r"--seed (\d+)", caplog.messages[-1])
    assert status == 0
    assert generate(*args, "--seed", seed)[1] == out


def test_samples_differ_and_the_first_does_not_depend_on_their_number(generate: Generate) -> None:
    args = ("--prompt", "The", "--length", "60", "--tau", "1", "--seed", "5")
    _, one, _ = generate(*args)
    _, three, _ = generate(*args, "--num_samples", "3")
    texts = three.split("--- ")[1:]
    assert [text[0] for text in texts] == ["1", "2", "3"]
    assert texts[0][2:] == one and len({text[2:] for text in texts}) == 3
    assert generate(*args, "--num_samples", "3", "--stream")[1] == three


def test_the_text_does_not_depend_on_the_length(generate: Generate) -> None:
    args = ("--prompt", "The", "--tau", "1", "--seed", "5", "--length")
    assert generate(*args, "60")[1].startswith(generate(*args, "20")[1].removesuffix("\n"))


def test_a_beam_search_prints_its_best_hypotheses(generate: Generate, text_run_dir: Path) -> None:
    _, network, vocabulary = load_text_network(str(text_run_dir))
    steps, ids = CharacterSteps(network), torch.tensor([vocabulary.encode("The king")])
    logits, state = read(steps, ids, steps.start(1))
    (best,) = beam_search(steps, logits, state, 20, 6, num_best=3)
    _, out, _ = generate("--prompt", "The king", "--length", "20", "--beam", "6", "--num_samples", "3")
    expected = [
        f"--- {i}, log probability {one.log_prob:.2f}\nThe king{vocabulary.decode(one.ids)}\n"
        for i, one in enumerate(best, 1)
    ]
    assert out == "".join(expected)
    _, out, _ = generate("--prompt", "The king", "--length", "20", "--beam", "6", "--num_samples", "3", "--json")
    stopped = generate("--prompt", "The king", "--length", "20", "--beam", "6", "--num_samples", "3", "--stop", "e")[1]
    scores = [float(score) for score in re.findall(r", score (\S+)\n", stopped)]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)
    answer = json.loads(out)
    assert answer["decoding"] == "beam" and answer["prompt"] == "The king"
    assert [one["log_prob"] for one in answer["samples"]] == pytest.approx([one.log_prob for one in best])


def test_json_has_everything_that_reproduces_the_text(generate: Generate) -> None:
    args = ("--prompt", "The\nking’s", "--length", "20", "--num_samples", "2", "--json")
    _, out, err = generate(*args, "--top_p", "0.9", "--top_k", "5")
    answer = json.loads(out)
    assert err == "" and out.count("\n") == 1 and "’" in out
    assert (answer["tau"], answer["top_k"], answer["top_p"], answer["length"]) == (1.0, 5, 0.9, 20)
    assert answer["prompt"] == "The\nking’s" and all(len(one["text"]) == 20 for one in answer["samples"])
    again = generate(*args, "--top_p", "0.9", "--top_k", "5", "--seed", str(answer["seed"]))[1]
    assert json.loads(again) == answer
    greedy_answer = json.loads(generate("--json")[1])
    assert (greedy_answer["decoding"], greedy_answer["seed"]) == ("greedy", None)
    assert json.loads(generate("--json", "--tau", "inf", "--seed", "1")[1])["tau"] == "inf"


def test_a_text_ends_with_its_stop(generate: Generate) -> None:
    _, out, _ = generate(
        "--prompt", "The", "--tau", "0", "--seed", "1", "--length", "500", "--stop", "e", "--num_samples", "4"
    )
    for part in out.split("--- ")[1:]:
        text = part.partition("\n")[2].removesuffix("\n").removeprefix("The")
        assert text.endswith("e") and text.count("e") == 1


def test_a_stop_is_read_as_a_prompt_is(generate: Generate) -> None:
    args = ("--prompt", "The", "--tau", "0", "--seed", "1", "--length", "300")
    assert generate(*args, "--stop", "\r\n") == generate(*args, "--stop", "\n") != generate(*args)


@pytest.mark.parametrize(
    ("redirection", "status", "message"),
    [
        ("--interactive <&-", 2, "error: interactive reads the standard input, but it is closed; leave it open"),
        ("--length 5 >&-", 0, ""),
        ("--length 5 >/dev/full", 2, "error: cannot write the output: no space is left"),
        ("--length 50000 --stream >/dev/full", 2, "error: cannot write the output: no space is left"),
        ("--length 50000 --stream | head -c 5; exit ${PIPESTATUS[0]}", 141, ""),
    ],
)
def test_streams_that_are_closed_or_full(redirection: str, status: int, message: str, text_run_dir: Path) -> None:
    root = Path(__file__).parent.parent.parent
    command = f"{sys.executable} cli.py generate --ckpt_path={text_run_dir} {redirection}"
    done = subprocess.run(["bash", "-c", command], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert done.stderr.startswith(message) and done.stderr.count("\n") == (message != "")


def test_the_prompt_can_be_in_a_file(generate: Generate, tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_bytes("The\r\nking’s".encode("utf-16"))
    args = ("--length", "20")
    assert generate("--prompt_file", str(path), *args)[1] == generate("--prompt", "The\nking’s", *args)[1]


def test_unknown_characters(generate: Generate) -> None:
    status, out, err = generate("--prompt", "The Ünknown漢 king")
    assert (status, out) == (2, "")
    assert "'Ü' '漢'" in err and "on_unknown to skip or replace" in err
    assert generate("--prompt", "The Ünn漢 king", "--on_unknown", "skip", "--length", "5")[1].startswith("The nn king")
    # There is no U nor u in the book.
    assert generate("--prompt", "The énn漢 king", "--on_unknown", "replace", "--length", "5")[1].startswith(
        "The enn  king"
    )


def test_the_seed_is_printed_only_if_nothing_is_refused(generate: Generate, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    assert generate("--tau", "1", "--prompt", "漢")[0] == 2
    assert caplog.messages == []


def test_interactive_prompts(generate: Generate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("The\nÜ\n\nking"))
    status, out, err = generate("--interactive", "--length", "10")
    assert status == 0 and err.startswith("error: prompt has characters") and err.count("\n") == 1
    alone = [generate("--length", "10", "--prompt", prompt)[1] for prompt in ("The", "", "king")]
    assert out == "".join(alone)
    monkeypatch.setattr(sys, "stdin", io.StringIO("The\nThe\n"))
    _, out, _ = generate("--interactive", "--length", "30", "--json", "--seed", "1")
    one, two = (json.loads(line)["samples"][0]["text"] for line in out.splitlines())
    assert one != two  # asked twice, it draws again
    assert "The" + one + "\n" == generate("--length", "30", "--prompt", "The", "--seed", "1")[1]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--length", "0"], "length is 0; it must be at least 1"),
        (["--num_samples", "0"], "num_samples is 0; it must be at least 1"),
        (["--top_k", "0"], "top_k is 0; it must be at least 1"),
        (["--beam", "0"], "beam is 0; it must be from 1 to 10000"),
        (["--tau", "-1"], "tau is -1.0; it must be at least 0"),
        (["--tau", "nan"], "tau is nan; it must be at least 0"),
        (["--temperature", "-1"], "temperature is -1.0; it must be at least 0"),
        (["--length_penalty", "-1"], "length_penalty is -1.0; it must be from 0 to 10"),
        (["--length_penalty", "inf"], "length_penalty is inf; it must be from 0 to 10"),
        (
            ["--length_penalty", "1", "--stop", "e"],
            "length_penalty is 1.0, but it needs beam and stop",
        ),
        (
            ["--length_penalty", "1", "--beam", "2"],
            "length_penalty is 1.0, but it needs beam and stop",
        ),
        (["--top_p", "0"], "top_p is 0.0; it must be above 0 and at most 1"),
        (["--top_p", "1.1"], "top_p is 1.1; it must be above 0 and at most 1"),
        (["--seed", "-1"], "seed is -1; it must be from 0 to"),
        (
            ["--length", "1000000000"],
            "num_samples is 1 and length is 1000000000: 1000000000 characters; the limit is 16777216",
        ),
        (
            ["--beam", "10000", "--length", "2000"],
            "beam is 10000 and length is 2000: 20000000 characters; the limit is 16777216",
        ),
        (
            ["--tau", "1", "--temperature", "1"],
            "tau is 1.0 and temperature is 1.0, but tau is 1 / temperature; give one of them",
        ),
        (
            ["--beam", "3", "--tau", "1"],
            "beam is 3 and tau is 1.0, but a beam search does not sample; give one of them",
        ),
        (["--beam", "3", "--temperature", "1"], "beam is 3 and temperature is 1.0"),
        (["--beam", "3", "--top_k", "1"], "beam is 3 and top_k is 1"),
        (["--beam", "3", "--top_p", "0.5"], "beam is 3 and top_p is 0.5"),
        (
            ["--beam", "3", "--stream"],
            "beam is 3 and stream is True, but a beam search has its best text only at the end",
        ),
        (["--beam", "3", "--num_samples", "4"], "num_samples is 4, but the limit is beam = 3"),
        (["--stream", "--json"], "give one of them"),
        (
            ["--prompt", "a", "--prompt_file", "b"],
            "prompt is 'a' and prompt_file is 'b', but both give the prompt; give one of them",
        ),
        (
            ["--interactive", "--prompt", "a"],
            "interactive is True and prompt is 'a', but interactive reads prompts from the input",
        ),
        (["--prompt_file", "/no/such/file"], "/no/such/file: no such file"),
        (["--stop", "漢"], "stop has characters that the model has never seen: '漢'; leave them out"),
        (["--on_unknown", "ignore"], "on_unknown"),
        (["--tau", "warm"], "tau: expected a number, got warm"),
        (["--top_k", "1.5"], "top_k: expected a whole number, got 1.5"),
        (["--lenght", "3"], "lenght"),
    ],
)
def test_wrong_input_ends_in_one_line(args: list[str], message: str, generate: Generate) -> None:
    status, out, err = generate(*args)
    assert (status, out) == (2, "")
    assert message in err and err.startswith("error: ") and err.count("\n") == 1


def test_checkpoints_of_other_models_are_refused(
    run_dir: Path, capsys: pytest.CaptureFixture[str], text_run_dir: Path
) -> None:
    capsys.readouterr()
    assert cli.main(["generate", f"--ckpt_path={run_dir}"]) == 2
    assert "has PalindromeClassifier, but this command needs TextModel" in capsys.readouterr().err
    assert cli.main(["attractors", f"--ckpt_path={text_run_dir}"]) == 2
    assert "has TextModel, but this command needs PalindromeClassifier" in capsys.readouterr().err
    assert cli.main(["generate", "--ckpt_path=best"]) == 2
    assert "--ckpt_path best does not say which run; give its folder" in capsys.readouterr().err
    assert cli.main(["generate", "--ckpt_path=/no/such/run"]) == 2
    assert "no such file or folder" in capsys.readouterr().err


def test_characters_are_printed_one_by_one(text_run_dir: Path) -> None:
    """A reader of the output gets the first character before the last is generated."""
    root = Path(__file__).parent.parent.parent
    command = [sys.executable, "cli.py", "generate", f"--ckpt_path={text_run_dir}", "--stream", "--length=2000000"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert len(process.stdout.read(20)) == 20
        process.terminate()
