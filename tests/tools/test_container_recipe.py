"""The container recipes keep their promises, and what reads them passes nothing over."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest

RECIPES = ("Dockerfile", "Dockerfile.cuda")
HEAD = "ARG BASE=debian:12\nFROM ${BASE} AS build\n"


@pytest.fixture(scope="module")
def tool(load_tool):
    return load_tool("container_recipe")


@pytest.fixture(params=RECIPES)
def recipe(request, repository) -> str:
    return (repository / request.param).read_text()


def made(tool, text, **given):
    return list(tool.calls(text, given))


def allowed(repository) -> set[str]:
    lines = (repository / ".dockerignore").read_text().splitlines()
    assert "*" in lines, "all that is not named stays out"
    return {line[1:] for line in lines if line.startswith("!")}


def test_what_is_copied_is_there_and_let_in(tool, recipe, repository):
    copied = {
        source
        for word, *rest in made(tool, recipe)
        if word == "copy" and not rest[0]
        for source in rest[2:-1]
    }
    assert copied == allowed(repository), ".dockerignore lets in what is copied and no more"
    assert all((repository / source).exists() for source in copied)


def test_the_build_gets_what_the_wheel_is_made_of(repository):
    pyproject = (repository / "pyproject.toml").read_text()
    (packages,) = re.findall(r"\[tool.scikit-build.wheel.packages\]\n(.*?)\n\n", pyproject, re.S)
    roots = {path.split("/")[0] for path in re.findall(r'= "([^"]+)"', packages)}
    assert roots | {"csrc", "CMakeLists.txt", "pyproject.toml"} <= allowed(repository)


def test_everything_is_pinned(tool, recipe, repository):
    bases = {call[2] for call in made(tool, recipe) if call[0] == "stage"}
    assert len(bases) == 1
    assert re.fullmatch(r"debian:\d+\.\d+-slim", bases.pop())
    for call in made(tool, recipe):
        if call[0] == "run" and "pip" in call[3] and "install" in call[3]:
            assert "PIP_CONSTRAINT=/src/constraints.txt" in call
    pinned = re.findall(r"^([\w.-]+)==", (repository / "constraints.txt").read_text(), re.M)
    assert {"torch", "setuptools", "pybind11", "scikit-build-core"} <= set(pinned)
    loose = re.findall(r"\bnvidia-[\w-]+(?!=|[\w-])", "\n".join(
        call[3] for call in made(tool, recipe) if call[0] == "run"))  # fmt: skip
    assert not loose


def test_the_image_runs_as_nobody_with_a_read_only_root(tool, recipe):
    image = tool.last_stage(recipe)
    assert image.entry == ["mri2pet-bids"]
    user, group = map(int, image.user.split(":"))
    assert user > 1000
    assert group > 1000
    for name, value in image.environment.items():
        if name.endswith(("DIR", "HOME", "CACHE_PATH")):
            assert value.startswith("/tmp"), f"{name} is not in the folder that may be written to"
    assert image.environment["TMPDIR"] == "/tmp"
    assert "HOME" not in image.environment
    assert not any(name.startswith("PIP_") for name in image.environment)
    assert image.labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_the_image_holds_no_compiler_and_no_pip(tool, recipe):
    last = made(tool, recipe)
    last = last[max(i for i, call in enumerate(last) if call[0] == "stage") :]
    commands = " ".join(call[3] for call in last if call[0] == "run")
    assert not re.search(r"g\+\+|pip|-dev|curl|wget", commands)
    assert "--without-pip /opt/mri2pet" in recipe


def test_the_revision_is_written_where_the_build_looks(tool, recipe):
    runs = [call for call in made(tool, recipe, REVISION="abc") if call[0] == "run"]
    (build,) = [call for call in runs if "pip wheel" in call[3]]
    assert "REVISION=abc" in build
    assert 'echo "$REVISION" > REVISION' in build[3]


def test_one_recipe_builds_for_cuda(repository):
    assert "MRI2PET_CUDA=OFF" in (repository / "Dockerfile").read_text()
    assert "MRI2PET_CUDA=ON" in (repository / "Dockerfile.cuda").read_text()


def test_calls_carry_directory_user_and_variables(tool):
    text = (
        HEAD + "WORKDIR /src\n# a comment\nCOPY a b ./\nENV X=1 \\\n# inside\n    Y=two\n"
        "RUN one && \\\n  two\nFROM debian:12\nUSER 5:6\nCOPY --from=build /x /y\n"
        'ENTRYPOINT ["go", "on"]\n'
    )
    path = f"PATH={tool.DOCKERS_PATH}"
    assert made(tool, text) == [
        ["stage", "build", "debian:12"],
        ["copy", "", "/src", "a", "b", "./"],
        ["run", "/src", "0:0", "one &&   two", path, "X=1", "Y=two"],
        ["stage", "stage1", "debian:12"],
        ["copy", "build", "/", "/x", "/y"],
        ["start", "/", "5:6", "go on", path],
    ]
    assert made(tool, text, BASE="debian@sha256:0")[0][2] == "debian@sha256:0"


@pytest.mark.parametrize(
    "line",
    [
        "ADD https://example.org/x /x",
        "HEALTHCHECK NONE",
        'RUN ["a", "b"]',
        "RUN --mount=type=cache,target=/x a",
        "RUN cat <<END",
        "COPY --chown=1:1 a b",
        "COPY --from=nobody /a /b",
        "COPY a b c",
        "USER somebody",
        "ENTRYPOINT mri2pet-bids",
        "ENV X $UNKNOWN",
        "ENV X=$UNKNOWN",
        "FROM debian AS",
        "RUN a \\",
    ],
)
def test_what_is_not_known_is_refused(tool, line):
    with pytest.raises(tool.RecipeError):
        made(tool, HEAD + line + '\nENTRYPOINT ["x"]' * (not line.endswith("\\")))


def test_an_argument_that_no_line_declares_is_refused(tool):
    with pytest.raises(tool.RecipeError, match="no ARG OTHER"):
        made(tool, HEAD + 'ENTRYPOINT ["x"]', OTHER="1")


def test_the_program_prints_calls_for_a_shell(repository):
    command = [sys.executable, repository / "tools/container_recipe.py", repository / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [shlex.split(line) for line in done.stdout.splitlines()]
    assert lines[0][0] == "stage"
    assert lines[-1][0] == "start"
    wrong = subprocess.run([*command, "NONE=1"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "no ARG NONE" in wrong.stderr


def test_the_trial_is_a_shell_script(repository):
    subprocess.run(["bash", "-n", repository / "tools/try_container.sh"], check=True)
