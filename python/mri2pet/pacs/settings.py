"""NODE.json: one frozen tree, validated at the edge."""

from __future__ import annotations

import difflib
import ipaddress
import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from mri2pet.errors import UsageError

LARGEST_PDU = 16 << 20


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _ae_title(value: str) -> str:
    if not 1 <= len(value) <= 16 or not value.isascii() or not value.isprintable():
        raise ValueError("an AE title has 1 to 16 printable ASCII characters")
    if "\\" in value or value != value.strip():
        raise ValueError("an AE title has no backslash, nor spaces at its ends")
    return value


def _address(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise ValueError("an IP address is needed, as 192.168.1.5") from None
    return value


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        message = "an IP address or network is needed, as 192.168.1.5 or 192.168.1.0/24"
        raise ValueError(message) from None
    return value


AETitle = Annotated[str, AfterValidator(_ae_title)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Peer(_Frozen):
    """A system that may connect: its AE title, and its addresses (single ones or networks)."""

    aet: AETitle
    addresses: tuple[Annotated[str, AfterValidator(_network)], ...] = Field(min_length=1)
    may_send: bool = True


class TLS(_Frozen):
    """Files in PEM: our certificate and key, and the authorities whose certificates we accept."""

    cert: Path
    key: Path
    ca: Path
    require_client: bool = True


class Remote(_Frozen):
    """A system that we call."""

    aet: AETitle
    host: str = Field(min_length=1)
    port: Port
    tls: bool = False


class Destination(Remote):
    """Where PETs go. Without `commitment` they count as safe once the archive has taken them."""

    commitment: bool = True


class Synthesis(_Frozen):
    """Options of the synthesis, as `mri2pet dicom synthesize` takes them."""

    model: str = "demo"
    samples: int = Field(4, ge=1)
    steps: int = Field(25, ge=1)
    sampler: str = "dpmpp"
    seed: int = Field(0, ge=0)
    device: str = "auto"
    report: str = Field("pdf", pattern="^(pdf|sc|none)$")
    std: bool = False


class NodeSettings(_Frozen):
    """One node. Times end in their unit (s, h, d), sizes in GiB; `max_pdu` is in bytes.

    `stable_s`: how long a series must be quiet to count as complete; `incomplete_s`: how long one
    whose transfer broke off waits for its repeat. `query`: who is asked how many instances a
    series has.
    """

    aet: AETitle
    bind: Annotated[str, AfterValidator(_address)] = "127.0.0.1"
    port: Port = 11112
    peers: tuple[Peer, ...] = ()
    tls: TLS | None = None
    destination: Destination
    query: Remote | None = None
    spool: Path
    stable_s: float = Field(60, gt=0)
    incomplete_s: float = Field(1800, gt=0)
    max_associations: int = Field(10, ge=1, le=200)
    per_peer: int = Field(4, ge=1, le=200)
    max_pdu: int = Field(131072, ge=16384, le=LARGEST_PDU)
    quota_gib: float = Field(50, gt=0)
    min_free_gib: float = Field(5, ge=0)
    retain_done_h: float = Field(0, ge=0)
    retain_failed_d: float = Field(7, ge=0)
    health_port: Port = 11113
    synthesize: Synthesis = Synthesis()

    @model_validator(mode="after")
    def _strangers_stay_out(self) -> NodeSettings:
        if not ipaddress.ip_address(self.bind).is_loopback and not self.peers:
            raise ValueError(
                f"bind {self.bind} is open to the network, so peers must say who may connect"
            )
        return self

    @model_validator(mode="after")
    def _one_port_each(self) -> NodeSettings:
        if self.port == self.health_port:
            raise ValueError(f"port and health_port are both {self.port}")
        return self

    @model_validator(mode="after")
    def _tls_has_its_files(self) -> NodeSettings:
        for name in ("destination", "query"):
            to = getattr(self, name)
            if to is not None and to.tls and self.tls is None:
                raise ValueError(f"{name}.tls needs tls with cert, key and ca")
        return self


def read_settings(file: Path) -> NodeSettings:
    """The settings in a file; relative paths in it are relative to its folder.

    Raises:
        UsageError: it cannot be read, or names the first key that is wrong.
    """
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise UsageError(f"{file}: is no JSON ({error})") from None
    if not isinstance(tree, dict):
        raise UsageError(f"{file}: must hold one JSON object, see docs/pacs.md")
    try:
        settings = NodeSettings.model_validate(tree)
    except ValidationError as error:
        raise UsageError(f"{file}: {_first(error)}") from None
    return _beside(file.resolve().parent, settings)


def _beside(folder: Path, settings: NodeSettings) -> NodeSettings:
    tls = settings.tls
    if tls is not None:
        names = ("cert", "key", "ca")
        tls = tls.model_copy(update={name: folder / getattr(tls, name) for name in names})
        for name in names:
            if not getattr(tls, name).is_file():
                raise UsageError(f"tls.{name}: {getattr(tls, name)} is not there")
    return settings.model_copy(update={"spool": folder / settings.spool, "tls": tls})


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _known(first["loc"])
        near = difflib.get_close_matches(str(first["loc"][-1]), known, 1, cutoff=0)
        return f"{field}: there is no such key; the nearest is {near[0]}"
    message = str(first["msg"]).removeprefix("Value error, ")
    shown: Any = first.get("input")
    hint = f" ({shown!r} was given)" if isinstance(shown, str | int | float) else ""
    return f"{field}: {message}{hint}" if field else message


def _known(where: tuple[int | str, ...]) -> list[str]:
    """The keys of the section that a wrong key stands in."""
    sections: dict[str, type[BaseModel]] = {
        "peers": Peer, "tls": TLS, "destination": Destination, "query": Remote,
        "synthesize": Synthesis,
    }  # fmt: skip
    model = sections.get(str(where[0]), NodeSettings) if len(where) > 1 else NodeSettings
    return list(model.model_fields)
