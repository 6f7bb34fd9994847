"""`mri2pet info`: what was built, which devices and engines work, and why others do not."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def info(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what was built, which devices and engines work, and why others do not."""
    from mri2pet.engines.available import describe

    tree = describe()
    if as_json:
        import json

        typer.echo(json.dumps(tree, indent=2))
    else:
        typer.echo("\n".join(_lines(tree)))


def _lines(tree: dict[str, Any]) -> list[str]:
    lines = [
        f"mri2pet {tree['version']}, Python {tree['python']}, {tree['platform']}",
        "",
        *_native_lines(tree["native"]),
    ]
    for title in ("devices", "engines"):
        lines += ["", title]
        for row in tree[title]:
            state = "works" if row["works"] else "does not work"
            lines.append(f"  {row['name']:<12} {state}: {row['detail']}")
    lines += ["", f"models       {', '.join(tree['models']) or 'none bundled'}"]
    versions = (f"{name} {version or '(missing)'}" for name, version in tree["packages"].items())
    lines += [f"packages     {', '.join(versions)}", "", tree["warning"]]
    return lines


def _native_lines(native: dict[str, Any]) -> list[str]:
    if not native["built"]:
        return [f"native       {native['reason']}"]
    cuda = native["cuda"]
    lines = [
        f"native       {native['version']} of revision {native['revision']}",
        f"  compiler   {native['compiler']} ({native['build_type']})",
    ]
    if not cuda["enabled"]:
        return [*lines, f"  CUDA       off: {cuda['status']}"]
    kernels = f"{cuda['kernel_files']} kernel files" if cuda["kernel_files"] else "no kernels yet"
    architectures = ", ".join(cuda["architectures"])
    return [*lines, f"  CUDA       on: {cuda['status']}, for {architectures}; {kernels}"]
