"""Asks a Triton server for the synthetic PET of one T1, and writes it on the T1's own grid.

    python client.py T1.nii.gz -o PET.nii.gz [--std STD.nii.gz] [--url HOST:8000] …

The T1 is brought to model space here; the server never sees the image itself. Beside PET.nii.gz
comes PET.json: what model drew it, with which settings, and the warning.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet import WARNING, __version__
from mri2pet.errors import ModelError, Mri2petError, UsageError
from mri2pet.imaging.pipeline import Preprocessed, preprocess, read_t1
from mri2pet.imaging.suvr.drawn import Drawn
from mri2pet.synthesis.outputs import image_writer, text_writer, write_together
from mri2pet.synthesis.pet import measure, pet_image
from mri2pet.uncertainty.results import ResultUncertainty

# Of the whole numbers that the model takes.
BITS = {"SEED": 32, "SUBJECT": 64, "SAMPLES": 32}


class Server:
    """A served model.

    Attributes:
        mri_shape, pet_shape: (K, I, J) of its grids.
        parameters: of its configuration; facts of the model among them.

    Raises:
        UsageError: tritonclient is not installed.
        Mri2petError: no server, or it does not serve this model.
        ModelError: a model of another kind.
    """

    def __init__(self, url: str, model: str, *, timeout: float = 600.0) -> None:
        try:
            import tritonclient.http
            import tritonclient.utils
        except ImportError as error:
            raise UsageError(
                f"the package {error.name} is missing; `pip install 'tritonclient[http]'`"
            ) from None
        self.model, self._http = model, tritonclient.http
        self._error = tritonclient.utils.InferenceServerException
        if "://" in url:
            raise UsageError(f"--url {url}: name host and port without a scheme")
        self._client = tritonclient.http.InferenceServerClient(url, network_timeout=timeout)
        metadata = self._ask("get_model_metadata", model)
        config = self._ask("get_model_config", model)
        try:
            shapes = {t["name"]: t["shape"] for t in (*metadata["inputs"], *metadata["outputs"])}
            _, *mri_shape = map(int, shapes["MRI"])
            _, *pet_shape = map(int, shapes["PET"])
            k, i, j = mri_shape
            self.mri_shape = (k, i, j)
            k, i, j = pet_shape
            self.pet_shape = (k, i, j)
            parameters = config["parameters"].items()
            self.parameters = {name: value["string_value"] for name, value in parameters}
        except (KeyError, ValueError):
            raise ModelError(f"{url}: serves {model}, but not a model of mri2pet") from None

    def sample(self, mri: np.ndarray, **numbers: int | None) -> Drawn:
        """Samples and their mean, SUVR.

        Args:
            mri: float32 [K, I, J] in model space.
            numbers: SEED, SUBJECT, SAMPLES; None for the server's own.

        Raises:
            Mri2petError: what the server says.
        """
        arrays = {"MRI": np.ascontiguousarray(mri[None], dtype=np.float32)}
        for name, value in numbers.items():
            if value is None:
                continue
            bits = BITS[name]
            if not 0 <= value < 2**bits:
                raise UsageError(f"{name} must lie in 0 … {2**bits - 1}, not {value}")
            arrays[name] = np.array([value], dtype=f"uint{bits}")
        inputs = []
        for name, array in arrays.items():
            kind = {"f": "FP", "u": "UINT"}[array.dtype.kind] + str(8 * array.dtype.itemsize)
            inputs.append(self._http.InferInput(name, list(array.shape), kind))
            inputs[-1].set_data_from_numpy(array)
        answer = self._ask("infer", self.model, inputs)
        samples, mean = answer.as_numpy("PET"), answer.as_numpy("MEAN")
        if samples is None or samples.ndim != 4 or samples.shape[1:] != self.pet_shape:
            raise ModelError(f"{self.model}: gave no PET of shape [S, {self.pet_shape}]")
        if mean is None or mean.shape != self.pet_shape:
            raise ModelError(f"{self.model}: gave no MEAN of shape {self.pet_shape}")
        return Drawn(samples, mean)

    def _ask(self, question: str, *arguments: Any) -> Any:
        try:
            return getattr(self._client, question)(*arguments)
        except (self._error, OSError) as error:
            raise Mri2petError(f"{self.model}: the server cannot answer ({error})") from None


def synthesize(arguments: argparse.Namespace) -> None:
    """From the T1 to the images.

    Raises:
        Mri2petError: the image, the server or an option cannot be used, or a file not be written.
    """
    for path in (arguments.out, arguments.std):
        if path is not None and not path.name.endswith(".nii.gz"):
            raise UsageError(f"{path}: name a .nii.gz file")
    server = Server(arguments.url, arguments.model)
    t1 = read_t1(arguments.t1)
    prepared = preprocess(
        t1,
        mri_shape=server.mri_shape,
        pet_shape=server.pet_shape,
        skull_stripped=arguments.skull_stripped,
    )
    drawn = server.sample(
        prepared.mri,
        SEED=arguments.seed,
        SUBJECT=int(t1.sha256[:16], 16),
        SAMPLES=arguments.samples,
    )
    if arguments.std is not None and len(drawn.samples) < 2:
        raise UsageError("--std: one sample has no spread; ask for --samples 2 or more")
    volumes = {arguments.out: drawn.mean}
    if arguments.std is not None:
        volumes[arguments.std] = drawn.samples.std(axis=0, ddof=1)
    files = {
        path: image_writer(pet_image(prepared, prepared.record.to_subject(volume)))
        for path, volume in volumes.items()
    }
    name = arguments.out.name.removesuffix(".nii.gz")
    sidecar = _sidecar(server, prepared, drawn, arguments.seed)
    text = json.dumps(sidecar, indent=2, ensure_ascii=False) + "\n"
    write_together(files | {arguments.out.with_name(f"{name}.json"): text_writer(text)})


def _sidecar(server: Server, prepared: Preprocessed, drawn: Drawn, seed: int) -> dict[str, Any]:
    facts = server.parameters
    no_calibration = "a served model has no calibration; the spread of the samples is no error bar"
    return {
        "synthetic": True,
        "warning": facts.get("warning", WARNING),
        "Units": "SUVR",
        "ReferenceRegion": facts.get("reference_region"),
        "TracerName": "AV45 (florbetapir), simulated: no tracer was given",
        "input": {"file": prepared.t1.name, "sha256": prepared.t1.sha256},
        "model": {"name": facts.get("model"), "sha256": facts.get("model_sha256")},
        "settings": {
            **{key: facts.get(key) for key in ("engine", "precision", "sampler", "steps")},
            "samples": len(drawn.samples),
            "seed": seed,
        },
        "measurements": measure(drawn, ResultUncertainty(None, no_calibration)),
        "checks": prepared.checks,
        "warnings": prepared.warnings,
        "versions": {"mri2pet client": __version__, "mri2pet export": facts.get("mri2pet")},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("t1", type=Path, help="the T1-weighted MRI")
    parser.add_argument(
        "-o", "--out", type=Path, required=True, help="mean of the samples, .nii.gz"
    )
    parser.add_argument("--std", type=Path, help="standard deviation of the samples, .nii.gz")
    parser.add_argument("--url", default="localhost:8000", help="of the server, without http://")
    parser.add_argument("--model", default="mri2pet", help="name in the model repository")
    parser.add_argument("--samples", type=int, help="volumes; the server's own number without")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--skull-stripped", action="store_true", help="the T1 is a brain alone")
    try:
        synthesize(parser.parse_args())
    except Mri2petError as error:
        print(f"client.py: error: {error}", file=sys.stderr)
        return error.exit_code
    print(WARNING)
    return 0


if __name__ == "__main__":
    sys.exit(main())
