"""Explanations fit in one line and name key, expectation and value."""

import pytest

from training.messages import one_line

UNION = """Parser key "model":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'pytorch_lightning.core.module.LightningModule'>, <class 'NoneType'>]
  Errors:
    - Problem with given class_path 'models.PalindromeClassifier':
        {cause}
    - Expected a <class 'NoneType'>
  Given value type: <class 'dict'>
  Given value: {{'class_path': 'models.PalindromeClassifier'}}"""


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "Parser key \"trainer.max_steps\":\n  Expected a <class 'int'>. Got value: abc",
            "trainer.max_steps: expected int, got abc",
        ),
        (
            UNION.format(cause="Option 'x' is not accepted"),
            "model: models.PalindromeClassifier: Option 'x' is not accepted",
        ),
        (
            UNION.format(
                cause="Parser key \"network\":\n          Expected a typing.Literal['rnn', 'lstm']. Got value: gru"
            ),
            "model.network: models.PalindromeClassifier: expected one of 'rnn', 'lstm', got gru",
        ),
        (
            "Does not validate against any of the Union subtypes\nSubtypes: [x]\nErrors:\n"
            "  - length is 1; it must be at least 2\n  - Expected a <class 'NoneType'>\nGiven value: Namespace()",
            "length is 1; it must be at least 2",
        ),
        (
            'Parser key "trainer.precision":\n  Errors:\n    - Expected a typing.Literal[64, 32, 16]\n'
            "    - Expected a typing.Literal['bf16']\n    - Expected a <class 'NoneType'>\n  Given value: 17",
            "trainer.precision: expected one of: 64, 32, 16, 'bf16'; got 17",
        ),
        (
            "Does not validate against any of the Union subtypes\nSubtypes: [list[Callback], Callback]\nErrors:\n"
            "  - LengthCurriculum.start is 1; it must be a number of at least 2\n  - Not a valid subclass of Callback\n"
            "    Subclass types expect one of:\n    - a class path (str)\n    - a dict with class_path entry\n"
            "    - a dict without class_path but with init_args entry (class path given previously)\n"
            "Given value: [Namespace()]",
            "LengthCurriculum.start is 1; it must be a number of at least 2",
        ),
        ("No supported gpu backend found!", "No supported gpu backend found!"),
    ],
)
def test_one_line(message: str, expected: str) -> None:
    assert one_line(message) == expected
