"""What holds for all tests: hypothesis draws the same examples every time, unless a profile is named.

`pytest --hypothesis-profile=long` looks further, and elsewhere each time; what it finds becomes an `@example`.
With `BACKLIT_TEST_TARGET=haswell`, or another name that `target.named` knows, code is compiled for that CPU and run
here, if this one can.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

import backlit as bl
from backlit.compiler import target

if "BACKLIT_TEST_TARGET" in os.environ:  # before any other module of the compiler is there
    target.host = lambda: target.named(os.environ["BACKLIT_TEST_TARGET"])  # type: ignore[assignment]

settings.register_profile("fixed", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fixed")

VALUE = bl.Value  # its first use gives values their operators and `backward`, which tests of single modules need too


@pytest.fixture(scope="session", autouse=True)
def code_is_kept_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Machine code that tests compile is kept in a folder of theirs, not in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BACKLIT_CACHE_DIR", str(tmp_path_factory.mktemp("code")))
        yield
