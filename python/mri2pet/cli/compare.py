"""`mri2pet compare`: evaluations of the same scans as one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    table: Annotated[
        Path, typer.Option("--out", "-o", help="The table: this name with .md, .tex and .csv.")
    ],
    outs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="OUT...", help="Folders of mri2pet evaluate; the first is tested."),
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="Which features, where a folder holds several networks'.")
    ] = None,
    as_paper: Annotated[
        bool, typer.Option("--as-paper", help="Also as the paper's authors compute it.")
    ] = False,
    features: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="REAL FAKE", help="FID and KID of two .npz files instead: features, subject."
        ),
    ] = None,
) -> None:
    """Compare evaluations: SSIM, PSNR, MAE, SUVR, FID and KID with intervals, tests and stars.

    With four samples a scan and more also how sure the samples are: TABLE_spread.md, .tex and .csv.
    """
    from mri2pet.errors import UsageError
    from mri2pet.evaluation.layout import markdown
    from mri2pet.evaluation.table_files import write_table
    from mri2pet.uncertainty.compare import spread_table

    if (features is None) is not bool(outs):
        raise UsageError("give folders of mri2pet evaluate, or --features REAL FAKE")
    spread = None
    if features is not None:
        from mri2pet.evaluation.feature_files import compare_features

        made, files = compare_features(*features, table)
    else:
        from mri2pet.evaluation.compare import compare as run

        comparison = run(outs or [], table, network=network, paper=as_paper)
        made, files = comparison.table, comparison.files
        spread = spread_table(outs or [])
        if spread is not None:
            files += write_table(table.with_name(f"{table.name}_spread"), spread)
    typer.echo(markdown(made))
    if spread is not None:
        typer.echo(markdown(spread))
    typer.echo(f"written to {', '.join(str(path) for path in files)}")
