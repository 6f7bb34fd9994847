"""What every registration needs and no image: ANTs, the template, the poses that are searched.

It takes seconds, so it is made while an image is read: ANTs is loaded by the server of
`imaging.space.itk`, the rest on a thread of its own, mostly outside the interpreter lock.
"""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import suppress
from functools import cache

from mri2pet import background
from mri2pet.errors import Mri2petError


def begin() -> None:
    """Starts making it ready, the first time in a process."""
    _started()


def wait() -> None:
    """Returns when it is ready; raises what went wrong on the way."""
    _started().result()


@cache
def _started() -> Future[None]:
    return background.begin(lambda: _make(), "template")


def _make() -> None:
    from mri2pet.imaging.space import itk

    with suppress(Mri2petError):  # the first registration tries again, and tells why
        itk.start()
    from mri2pet.imaging.brain.registration import fixed_template
    from mri2pet.imaging.brain.starts import prepare_search
    from mri2pet.imaging.space.template import template_gm, template_wm

    prepare_search()
    fixed_template()
    template_gm(2)
    template_wm(2)
