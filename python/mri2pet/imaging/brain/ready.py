"""What every registration needs and no image: ANTs, the template, the poses that are searched.

It takes seconds, most of them outside the interpreter lock, so it is made on a thread of its own
while an image is read.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from functools import cache


def begin() -> None:
    """Starts making it ready, the first time in a process."""
    _started()


def wait() -> None:
    """Returns when it is ready; raises what went wrong on the way."""
    _started().result()


@cache
def _started() -> Future[None]:
    done: Future[None] = Future()

    def work() -> None:
        try:
            _make()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    # A daemon: a command that ends early, for a wrong option, does not wait for it.
    threading.Thread(target=work, name="template", daemon=True).start()
    return done


def _make() -> None:
    from mri2pet.imaging.brain.registration import fixed_template
    from mri2pet.imaging.brain.starts import prepare_search
    from mri2pet.imaging.space.template import template_gm, template_wm

    prepare_search()
    fixed_template()
    template_gm(2)
    template_wm(2)
