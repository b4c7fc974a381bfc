"""``hookbench animate``: the picture that explains, as a web page, a GIF or a picture that stands still."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sim.catalogue import EVERY, MECHANISMS, named
from sim.errors import InputError

KINDS = (".html", ".gif", ".png", ".svg", ".pdf")


def animate(
    scenario: Annotated[
        str, typer.Argument(help="A preset's name, or the path of a TOML file.", metavar="SCENARIO")
    ],
    mechanism: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--mechanism",
            help=f"{', '.join(MECHANISMS)}, or {EVERY}; repeat for several.  [default: webhook and polling]",
            metavar="MECH",
        ),
    ] = None,
    events: Annotated[int, typer.Option(help="How many events, 1 to 40.", metavar="N")] = 8,
    seed: Annotated[int, typer.Option(help="Fixes every draw.", metavar="N")] = 1,
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            help=f"The file to write, overwritten if it exists; its ending says what: {', '.join(KINDS)}.",
            metavar="FILE",
        ),
    ] = Path("animation.html"),
) -> None:
    """Draw how the first events reach a subscriber by each mechanism, and play it.

    The web page needs no network: buttons, a slider and keys move it, and it prints as a still picture. GIF,
    PNG, SVG and PDF are for slides and paper.
    """
    from sim.animation.storyboard import storyboard
    from sim.engine import DEFAULT_MECHANISMS
    from sim.scenario import load_scenario

    kind = out.suffix.lower()
    if kind not in KINDS:
        raise InputError(f"cannot write {out.name!r}: its ending must be one of {', '.join(KINDS)}")
    if out.is_dir() or not out.parent.is_dir():
        raise InputError(
            f"cannot write {out}: {'it is a folder' if out.is_dir() else 'its folder is missing'}"
        )
    studied = load_scenario(scenario)
    board = storyboard(studied, named(mechanism or DEFAULT_MECHANISMS), events, seed)
    try:
        if kind == ".html":
            from sim.animation.page import page

            out.write_text(page(board), encoding="utf-8")
        else:
            from sim.animation.figures import gif, picture

            if kind == ".gif":
                out.write_bytes(gif(board))
            else:
                picture(board).savefig(out, dpi=150)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}") from None
    if board.cut_by:
        typer.echo(
            f"the picture ends at {board.end_s:.6g} s: {board.cut_by} has too much under way", err=True
        )
    typer.echo(f"picture: {out} ({out.stat().st_size / 1000:,.0f} kB)")
