"""Running steps: what is done stays, what fails holds back its own alone, nothing is lost."""

from __future__ import annotations

import errno
import fcntl
import json

import pytest

from mri2pet.cli import main as cli
from mri2pet.errors import InputError, Mri2petError, UsageError
from mri2pet.experiment import run as module
from mri2pet.experiment.reading import read_experiment
from mri2pet.experiment.run import plan_text, run_experiment, states
from mri2pet.experiment.steps import Step, marker_path
from mri2pet.tables import read_table


class Study:
    """Four steps of a stand-in plan: a → b → c, and table after whatever is there."""

    def __init__(self, write, monkeypatch):
        self.config = read_experiment(write())
        self.made: list[str] = []
        self.inputs = {"a": 1, "b": 1, "c": 1}
        self.errors: dict[str, BaseException] = {}
        monkeypatch.setattr(module, "plan", lambda config: self.steps())

    def steps(self):
        def run(name):
            def make(tell):
                self.made.append(name)
                if name in self.errors:
                    raise self.errors[name]
                folder = self.config.out / "made"
                folder.mkdir(exist_ok=True)
                (folder / name).write_text(str(self.inputs.get(name)))
                return [f"{name} was made"]

            return make

        after = {"b": ("a",), "c": ("b",)}
        steps = [
            Step(n, run(n), {"n": v}, after.get(n, ()), paths=(f"made/{n}",), seconds=5)
            for n, v in self.inputs.items()
        ]
        return [*steps, Step("table", run("table"), after=tuple(self.inputs), derived=True)]

    def run(self, **options):
        self.made.clear()
        return run_experiment(self.config, **options)


@pytest.fixture
def study(write, monkeypatch):
    return Study(write, monkeypatch)


def test_what_is_done_is_not_made_again(study):
    assert study.run().failures == {}
    assert study.made == ["a", "b", "c", "table"]
    study.run()
    assert study.made == []
    assert [of.state for of in states(study.config)] == ["done"] * 4


def test_a_failed_step_holds_back_what_needs_it_and_nothing_else(study, capsys):
    study.errors["b"] = InputError("no labels; add them.")
    result = study.run()
    assert study.made == ["a", "b", "table"]
    assert result.failures == {"b": "no labels; add them.", "c": "needs b, which is not there"}
    lines = read_table(study.config.out / "failures.tsv")
    assert [line["step"] for line in lines] == ["b", "c"]
    del study.errors["b"]
    assert study.run().failures == {}
    assert study.made == ["b", "c", "table"]
    assert read_table(study.config.out / "failures.tsv") == []


def test_an_unexpected_error_ends_its_step_alone(study):
    study.errors["a"] = ZeroDivisionError("division by zero")
    result = study.run()
    assert result.failures["a"] == "ZeroDivisionError: division by zero"
    assert study.made == ["a", "table"]


def test_the_command_ends_with_3_where_a_step_is_missing(study, write, capsys):
    study.errors["c"] = InputError("too few people.")
    assert cli.main(["experiment", "run", str(write())]) == 3
    assert "[3/4] c: failed: too few people." in capsys.readouterr().err


def test_other_settings_are_refused_and_moved_aside_when_asked(study):
    study.run()
    study.inputs["b"] = 2
    with pytest.raises(UsageError, match=r"other settings \(b, c\); give --replace"):
        study.run()
    assert study.made == []
    assert [of.state for of in states(study.config)] == ["done", "stale", "stale", "open"]
    study.run(replace=True)
    assert study.made == ["b", "c", "table"]
    moved = sorted((study.config.out / "replaced").glob("*/made/*"))
    assert [path.read_text() for path in moved] == ["1", "1"]
    assert (study.config.out / "made" / "b").read_text() == "2"


def test_a_full_disk_ends_the_run_in_one_sentence_and_nothing_is_lost(study, write, capsys):
    full = OSError(errno.ENOSPC, "No space left on device")
    wrapped = Mri2petError("out: cannot be written (No space left on device).")
    wrapped.__cause__ = full
    for error in (full, wrapped):
        study.errors["b"] = error
        assert cli.main(["experiment", "run", str(write())]) == 1
        assert "the disk is full" in capsys.readouterr().err
    del study.errors["b"]
    study.run()
    assert study.made == ["b", "c", "table"]


def test_a_training_that_is_told_to_stop_ends_the_run(study):
    from mri2pet.training.stopping import Stopped

    study.errors["b"] = Stopped("stopped; the same command goes on.")
    with pytest.raises(Stopped):
        study.run()
    assert study.made == ["a", "b"]


def test_an_interrupted_run_goes_on_with_the_step_that_was_begun(study):
    study.errors["b"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        study.run()
    assert [of.state for of in states(study.config)] == ["done", "begun", "open", "open"]
    del study.errors["b"]
    study.run()
    assert study.made == ["b", "c", "table"]


def test_only_some_steps(study):
    study.run(only=["b"])
    assert study.made == ["a", "b"]


def test_a_folder_of_something_else_is_refused(study, write, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").touch()
    with pytest.raises(UsageError, match="not empty and holds no experiment"):
        run_experiment(study.config.model_copy(update={"out": full}))
    study.run()
    with pytest.raises(UsageError, match="holds the experiment made-up, not other"):
        run_experiment(study.config.model_copy(update={"name": "other"}))


def test_what_an_end_before_the_first_step_left_is_nothing(study, monkeypatch):
    """A full disk, or a kill, when only the lock and a part of the settings are there."""

    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "written_whole", full)
        with pytest.raises(OSError, match="No space left"):
            study.run()
    (study.config.out / ".part-0-1-x.json").touch()
    assert study.made == []
    assert study.run().failures == {}


def test_a_refused_run_keeps_the_settings_of_what_is_there(study):
    study.run()
    kept = (study.config.out / "experiment.json").read_bytes()
    study.inputs["b"] = 2
    study.config = study.config.model_copy(update={"preset": "paper"})
    with pytest.raises(UsageError, match="other settings"):
        study.run()
    assert (study.config.out / "experiment.json").read_bytes() == kept
    study.run(replace=True)
    assert json.loads((study.config.out / "experiment.json").read_text())["preset"] == "paper"


def test_a_fault_of_the_plan_is_not_called_a_damaged_folder(study, monkeypatch):
    def plan(config):
        raise ValueError("a fault")

    monkeypatch.setattr(module, "plan", plan)
    with pytest.raises(ValueError, match="a fault"):
        study.run()
    monkeypatch.undo()
    for text in ("{", "[]"):
        (study.config.out / "experiment.json").write_text(text)
        with pytest.raises(InputError, match=r"experiment\.json: is damaged"):
            study.run()


def test_two_processes_do_not_meet(study):
    study.run(only=["a"])
    with (study.config.out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Mri2petError, match="another process"):
            study.run()


def test_a_damaged_marker_is_named(study):
    study.run()
    marker_path(study.config.out, "b").write_text("{")
    with pytest.raises(InputError, match=r"b\.json: cannot be read"):
        study.run()


def test_the_plan_says_times_and_changes_nothing(study, write, capsys):
    assert cli.main(["experiment", "run", str(write()), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "0 of 4 steps are done; the others take about 15 s" in text
    assert not study.config.out.exists()
    assert cli.main(["experiment", "run", str(write()), "--dry-run", "--only", "b"]) == 0
    assert "0 of 2 steps are done; the others take about 10 s" in capsys.readouterr().out
    study.run()
    assert cli.main(["experiment", "status", str(write())]) == 0
    assert "4 of 4 steps are done" in capsys.readouterr().out
    assert "4 of 4" in plan_text(states(study.config))


def test_no_processes_are_refused(study, write, capsys):
    assert cli.main(["experiment", "run", str(write()), "--jobs", "0"]) == 2
    assert "--jobs" in capsys.readouterr().err
    assert not study.config.out.exists()


def test_the_page_is_written_again_by_its_command(study, write, capsys):
    assert cli.main(["experiment", "page", str(write())]) == 1
    assert "holds no experiment" in capsys.readouterr().err
    study.run()
    assert cli.main(["experiment", "page", str(write())]) == 0
    assert (study.config.out / "index.html").is_file()


def test_the_configuration_is_kept_beside(study):
    study.run()
    assert json.loads((study.config.out / "experiment.json").read_text())["name"] == "made-up"
