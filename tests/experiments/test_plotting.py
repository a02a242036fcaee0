"""The intervals of Student's t, and labels that do not overlap."""

from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from experiments.plotting import COLOURS, STYLES, label_lines, mean_and_interval, new_figure, save_figure


def test_the_interval_is_students() -> None:
    # The quantile of Student's t for four degrees of freedom, from any table: 2.776.
    mean, low, high = mean_and_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert mean == 3.0
    assert high - mean == pytest.approx(2.7764 * (2.5 / 5) ** 0.5, rel=1e-4)
    assert mean - low == pytest.approx(high - mean)
    assert mean_and_interval([0.5]) == (0.5, 0.5, 0.5)
    assert mean_and_interval([0.5, 0.5]) == (0.5, 0.5, 0.5)


def test_labels_do_not_overlap_and_keep_their_order(tmp_path: Path) -> None:
    figure, axes = new_figure(1, 1, 6, 4)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    for name, height in (("a", 0.50), ("b", 0.505), ("c", 0.1), ("d", 0.51)):
        axes.plot([0.0, 1.0], [0.0, height], label=name)
    axes.axhline(0.5)  # a line without a name
    label_lines(axes)
    save_figure(figure, tmp_path / "figure.png")
    renderer = FigureCanvasAgg(figure).get_renderer()
    assert len(axes.texts) == 4
    boxes = {text.get_text(): text.get_window_extent(renderer) for text in axes.texts}
    heights = [boxes[name].y0 for name in "cabd"]
    assert heights == sorted(heights)
    for lower, upper in zip("cab", "abd", strict=True):
        assert boxes[upper].y0 >= boxes[lower].y1 - 4


def test_there_are_as_many_styles_as_colours() -> None:
    assert len(COLOURS) == len(STYLES) == len(set(COLOURS))
