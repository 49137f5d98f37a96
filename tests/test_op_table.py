"""Every op in the table, in every mode. A new op is tested here the moment it exists."""

import pkgutil
from importlib import import_module

import pytest

import backlit.ops
from backlit.autodiff.verify import check_op
from backlit.core.op import Op


def all_ops() -> list[Op]:
    found: dict[str, Op] = {}
    for info in pkgutil.iter_modules(backlit.ops.__path__):
        module = import_module(f"backlit.ops.{info.name}")
        for attribute in vars(module).values():
            if isinstance(attribute, Op):
                assert found.setdefault(attribute.name, attribute) is attribute, f"two ops named {attribute.name}"
    return sorted(found.values(), key=lambda op: op.name)


ALL_OPS = all_ops()


@pytest.mark.parametrize("op", ALL_OPS, ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_all_modes_of_an_op_agree(op: Op, seed: int) -> None:
    assert check_op(op, seed) == []


@pytest.mark.parametrize("op", ALL_OPS, ids=str)
def test_an_op_says_what_it_does(op: Op) -> None:
    assert op.doc
