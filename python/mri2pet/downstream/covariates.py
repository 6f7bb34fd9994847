"""What age and sex alone say, and what nothing says: the trivial rows of the tables."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mri2pet.cohort.dates import SESSION, cell
from mri2pet.cohort.labels import PERSON
from mri2pet.cohort.manifest import ManifestRow
from mri2pet.cohort.names import matched
from mri2pet.downstream.settings import Task
from mri2pet.downstream.training import Sample
from mri2pet.errors import UsageError
from mri2pet.tables import number, read_table

Covariates = tuple[float | None, str | None]
_SEXES = {"f": "F", "female": "F", "m": "M", "male": "M"}


def read_covariates(root: Path, rows: Sequence[ManifestRow]) -> dict[str, Covariates]:
    """Row name → age (years) and sex, by `participants.tsv`; the age of the session goes first.

    Raises:
        InputError: a table cannot be read.
    """
    folders = {row.subject: root / row.subject for row in rows}
    people = read_table(root / "participants.tsv")
    names = matched({cell(row, PERSON) for row in people} - {""}, folders, "sub-")
    of_person = {names.get(cell(row, PERSON)): row for row in people}
    ages: dict[tuple[str, str], float] = {}
    for subject, folder in folders.items():
        for visit in read_table(folder / f"{subject}_sessions.tsv"):
            if (age := number(cell(visit, "age"))) is not None:
                ages[subject, cell(visit, SESSION)] = age
    found: dict[str, Covariates] = {}
    for row in rows:
        person = of_person.get(row.subject, {})
        age = ages.get((row.subject, row.session), number(cell(person, "age")))
        sex = _SEXES.get((cell(person, "sex") or cell(person, "gender")).casefold())
        found[row.name] = (age, sex)
    return found


def require_scikit_learn() -> None:
    """Raises UsageError where scikit-learn is not installed."""
    if find_spec("sklearn") is None:
        raise UsageError(
            "the setting covariates needs scikit-learn; install it by pip install 'mri2pet[eval]', "
            "or name other --settings"
        )


def predict_by_covariates(
    training: Sequence[Sample], test: Sequence[Sample], task: Task, by_nothing: bool
) -> np.ndarray:
    """Probabilities [n, classes] or MMSE [n] of the test scans.

    By logistic or linear regression on age and sex, unknown ones as the mean; `by_nothing` gives
    all of them the commonest class or the mean.
    """
    labels = np.array([s.label for s in training])
    if by_nothing:
        if not task.classes:
            return np.full(len(test), labels.mean())
        most = np.bincount(labels.astype(int), minlength=len(task.classes)).argmax()
        return np.tile(np.eye(len(task.classes))[most], (len(test), 1))
    from sklearn.linear_model import LinearRegression, LogisticRegression

    x, z = _features(training, training), _features(test, training)
    if not task.classes:
        return np.asarray(LinearRegression().fit(x, labels).predict(z))
    model = LogisticRegression(max_iter=1000).fit(x, labels.astype(int))
    p = np.zeros((len(test), len(task.classes)))
    p[:, model.classes_] = model.predict_proba(z)
    return p


def _features(samples: Sequence[Sample], training: Sequence[Sample]) -> np.ndarray:
    """Age and sex [n, 2], each by the mean and deviation of the training scans."""
    own, of = (
        np.array([[_or_nan(s.age), _or_nan({"F": 0.0, "M": 1.0}.get(s.sex or ""))] for s in some])
        for some in (samples, training)
    )
    known = [column[np.isfinite(column)] for column in of.T]
    mean = np.array([column.mean() if column.size else 0 for column in known])
    spread = np.array([column.std() if column.size else 0 for column in known])
    filled = np.where(np.isfinite(own), own, mean)
    return np.asarray((filled - mean) / np.where(spread > 0, spread, 1))


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
