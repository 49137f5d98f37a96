"""What `why` prints on the examples, held in golden files; `python -m tests.explain.test_why_golden` writes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.explain.why_examples import EXAMPLES

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", EXAMPLES)
def test_text_is_the_golden_one(name: str) -> None:
    assert str(EXAMPLES[name]()) + "\n" == (GOLDEN / f"why_{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", EXAMPLES)
def test_latex_is_the_golden_one(name: str) -> None:
    assert EXAMPLES[name]().latex() + "\n" == (GOLDEN / f"why_{name}.tex").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_number_on_the_screen_is_a_field(name: str) -> None:
    answer = EXAMPLES[name]()
    data = json.loads(json.dumps(answer.to_dict()))
    assert data["schema"] == "backlit.explanation/1"
    assert data["headline"] in str(answer).replace("\n", " ")
    assert {"subject", "output", "state", "gradient", "lines", "sum", "findings", "factors", "notes"} <= set(data)


if __name__ == "__main__":
    for each, run in EXAMPLES.items():
        (GOLDEN / f"why_{each}.txt").write_text(str(run()) + "\n", encoding="utf-8")
        (GOLDEN / f"why_{each}.tex").write_text(run().latex() + "\n", encoding="utf-8")
