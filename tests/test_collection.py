"""Where only torch and little else is installed, all tests that need no more can be collected."""

from __future__ import annotations

import os
import subprocess
import sys

MISSING = ("nibabel", "nilearn", "ants", "diffusers", "tensorrt", "onnx", "onnxscript")


def test_tests_are_collected_on_a_bare_machine(repository, tmp_path):
    blocker = f"import sys\nfor name in {MISSING!r}:\n    sys.modules[name] = None\n"
    (tmp_path / "sitecustomize.py").write_text(blocker)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    pytest = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider"]
    place = ["-c", str(repository / "pyproject.toml"), f"--rootdir={repository}"]
    done = subprocess.run(
        [*pytest, *place, str(repository / "tests")],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    found = {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}
    for name in (
        "tests/engines/test_torch_engine.py",
        "tests/ops/test_cuda_ops.py",
        "tests/test_memory.py",
        "tests/training/test_on_a_gpu.py",
    ):
        assert name in found
    assert not any(name.startswith("tests/imaging") for name in found)
