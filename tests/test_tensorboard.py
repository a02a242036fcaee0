"""What a finished run of each kind shows in TensorBoard, as a browser shows it.

With SCREENSHOTS=FOLDER, the README's picture of it is taken again and kept there.
"""

import contextlib
import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.forked import run_python
from training.run_folder import run_folders

sync_api = None
with contextlib.suppress(ModuleNotFoundError):
    from playwright import sync_api

pytestmark = [pytest.mark.slow, pytest.mark.browser]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = [name for name, has in (("Chromium", CHROMIUM), ("playwright", sync_api)) if not has]
PATIENCE = 120_000  # milliseconds; nothing waits longer than it must

VIEWPORT, SHOWN = {"width": 1600, "height": 1000}, {"width": 1040, "height": 660}
"""Sizes of the browser's page in the tests, and in the README's picture, where its letters must be large enough."""

RUNS = {
    "rnn_T10": ["--trainer.callbacks=callbacks.GradientFlow"],
    "lstm_T10": ["--trainer.callbacks=callbacks.GradientFlow"],
    "text_grimm": [
        "--data.book=python_reference",  # comes with Python
        "--trainer.max_steps=500",
        "--trainer.val_check_interval=100",
        "--trainer.log_every_n_steps=20",
        '--trainer.callbacks={"class_path": "callbacks.TextSamples", "init_args": {"every_n_steps": 250}}',
    ],
    "gcn_karate": [],
    "gcn_lstm_spread": ["--trainer.max_steps=100", "--trainer.val_check_interval=20"],
}
"""A run of each kind: its config, and what is changed to make it short."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if MISSING and not os.environ.get("REQUIRE_BROWSER"):
        pytest.skip(f"no browser here: {' and '.join(MISSING)} not found")
    assert not MISSING
    root = tmp_path_factory.mktemp("tensorboard") / "runs"
    for name, changed in RUNS.items():
        words = ["fit", f"--config=configs/{name}.yaml", f"--trainer.default_root_dir={root}", *changed]
        done = run_python("cli.py", *words)
        assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="module")
def page(runs: Path) -> Iterator[Any]:
    """A browser's page, and TensorBoard behind it."""
    assert sync_api is not None
    words = ["-m", "tensorboard.main", f"--logdir={runs.name}", "--host=127.0.0.1", "--port=0"]
    with subprocess.Popen([sys.executable, *words], cwd=runs.parent, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            address = next(filter(None, (re.search(r"http://\S+", line) for line in server.stderr if " at " in line)))
            with sync_api.sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
                page = browser.new_page(viewport=VIEWPORT, base_url=address[0])
                page.set_default_timeout(PATIENCE)
                while len(page.request.get("data/plugin/scalars/tags").json()) < len(RUNS):
                    page.wait_for_timeout(200)  # it has not read all of them yet
                yield page
                browser.close()
        finally:
            server.terminate()


def opened(page: Any, tab: str, awaited: str, number: int) -> Any:
    """What is awaited in a tab, once there are so many of it."""
    page.goto(f"/#{tab}")
    page.reload()
    found = page.locator(awaited)
    seen_to_have(found, number)
    return found


def seen_to_have(found: Any, number: int) -> None:
    sync_api.expect(found).to_have_count(number, timeout=PATIENCE)  # type: ignore[union-attr]


def run_of(runs: Path, name: str) -> Path:
    (run,) = run_folders(runs / name)
    return run.path


def curve(runs: Path, name: str, metric: str) -> list[tuple[int, float]]:
    """Steps and values of a run's metric."""
    with (run_of(runs, name) / "metrics.csv").open(newline="") as file:
        return [(int(row["step"]), float(row[metric])) for row in csv.DictReader(file) if row.get(metric)]


def test_curves_that_belong_together_share_a_chart(page: Any, runs: Path) -> None:
    charts = opened(page, "custom_scalars", "tf-custom-scalar-multi-line-chart-card", 5)
    metrics = [["train/loss", "val/loss"], ["train/accuracy", "val/accuracy"], ["train/gradient_norm"]]
    metrics += [["train/learning_rate"], ["train/steps_per_second"]]
    for chart, of_chart in zip(charts.all(), metrics, strict=True):
        curves = {f"{metric} ({name}/version_0)" for metric in of_chart for name in RUNS if curve(runs, name, metric)}
        entries = chart.locator(".match-list-entry")
        seen_to_have(entries, len(curves))
        assert {" ".join(entry.split()[1:]) for entry in entries.all_text_contents()} == curves
        seen_to_have(chart.locator("path.line"), 2 * len(curves))  # as it is, and smoothed
    if folder := os.environ.get("SCREENSHOTS"):
        page.set_viewport_size(SHOWN)
        page.mouse.move(0, 0)
        page.wait_for_timeout(2000)  # until nothing moves
        page.screenshot(path=Path(folder) / "tensorboard.png")
        page.set_viewport_size(VIEWPORT)


def test_each_curve_ends_where_the_run_did(page: Any, runs: Path) -> None:
    opened(page, "timeseries", "metrics-tag-filter-component input", 1).fill("^(train|val)/(loss|accuracy)$")
    seen_to_have(page.locator("metrics-filtered-view scalar-card"), 4)
    for metric in ("train/accuracy", "train/loss", "val/accuracy", "val/loss"):
        card = page.locator("metrics-filtered-view scalar-card").filter(has=page.locator(f"[title='{metric}']"))
        card.scroll_into_view_if_needed()
        ends = {name: curve(runs, name, metric)[-1] for name in RUNS if curve(runs, name, metric)}
        rows = card.locator("tb-data-table-content-row")
        seen_to_have(rows, len(ends))
        shown = {(cells := row.split())[0].split("/")[0]: cells for row in rows.all_inner_texts()}
        for name, (step, value) in ends.items():
            assert float(shown[name][2]) == pytest.approx(value, abs=1e-4)
            assert int(shown[name][3].replace(",", "")) == step


def test_samples_of_text_keep_their_line_breaks(page: Any, runs: Path) -> None:
    ways = opened(page, "text", "tf-text-loader", 4).all()
    files = sorted((run_of(runs, "text_grimm") / "samples").iterdir(), reverse=True)
    assert len(files) == 3
    heading = re.compile(r"^--- (.+), \d+ characters\n", re.MULTILINE)
    written: dict[str, list[str]] = {}
    for file in files:
        _, *parts = heading.split(file.read_text(encoding="utf-8"))
        for way, text in zip(parts[::2], parts[1::2], strict=True):
            written.setdefault(way, []).append(text)
    assert any("\n" in text.strip() for texts in written.values() for text in texts)
    for way, shown in zip(("greedy", "tau 0.5", "tau 1", "tau 2"), ways, strict=True):
        texts = shown.locator("pre")
        seen_to_have(texts, 9)
        assert [text.strip() for text in texts.all_inner_texts()] == [text.strip() for text in written[way]]


def test_gradients_over_time_are_a_figure(page: Any) -> None:
    for figure in opened(page, "images", "tf-image-loader img", 2).all():
        sync_api.expect(figure).to_have_js_property("complete", True)  # type: ignore[union-attr]
        colours = figure.evaluate(COLOURS_OF)
        assert colours["width"] > 300
        assert "31,119,180" in colours["seen"]  # the curve


COLOURS_OF = """image => {
    const canvas = document.createElement("canvas")
    canvas.width = image.naturalWidth
    canvas.height = image.naturalHeight
    const context = canvas.getContext("2d")
    context.drawImage(image, 0, 0)
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data
    const seen = new Set()
    for (let k = 0; k < pixels.length; k += 4) seen.add(pixels.slice(k, k + 3).join())
    return {width: canvas.width, seen: [...seen]}
}"""


def test_hyper_parameters_are_shown_with_the_results(page: Any, runs: Path) -> None:
    opened(page, "hparams", "vaadin-grid", 1)
    names = page.locator("vaadin-grid-cell-content")
    sync_api.expect(names.filter(has_text="rnn_T10/version_0")).to_have_count(1)  # type: ignore[union-attr]
    cells = [cell.strip() for cell in names.all_inner_texts()]
    headings = cells[: cells.index("")]
    assert "data.class_path" in headings and "test/accuracy" in headings
    for name in RUNS:
        first = cells.index(f"{name}/version_0")
        row = dict(zip(headings, cells[first : first + len(headings)], strict=True))
        summary = json.loads((run_of(runs, name) / "summary.json").read_text())
        assert float(row["test/accuracy"]) == pytest.approx(summary["metrics"]["test/accuracy"], abs=1e-4)
    for choice in ("model.network", "data.seq_len", "data.graph", "data.refractory"):  # of every kind
        seen_to_have(page.locator("tf-hparams-query-pane paper-checkbox").get_by_text(choice, exact=True), 1)
