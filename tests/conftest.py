"""What holds for all tests: hypothesis draws the same examples every time, unless a profile is named on the command line.

`pytest --hypothesis-profile=long` looks further, and elsewhere each time; what it finds becomes an `@example`.
"""

from hypothesis import HealthCheck, settings

import backlit.ops.face  # noqa: F401  (tests of single modules use values, which have their operators from here)

settings.register_profile("fixed", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fixed")
