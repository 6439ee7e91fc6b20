"""The report as one HTML page that needs nothing else: no network, no script, no other file."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined

from rxf.lab.report.contents import Report
from rxf.lab.runs import versions

if TYPE_CHECKING:
    from rxf.lab.report.pictures import Picture

__all__ = ["page"]

TEMPLATE = Path(__file__).with_name("page.html.jinja")


def page(report: Report, album: dict[str, list["Picture"]], no_pictures: str = "") -> str:
    """Fill in the template; everything that came from a file is escaped.

    Args:
        report: the contents.
        album: pictures by kind.
        no_pictures: why there are none, where there are none.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["data_uri"] = _data_uri
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        report=report,
        album=album,
        no_pictures=no_pictures,
        made_with=", ".join(f"{name} {version}" for name, version in versions().items()),
        last=max((str(run.get("ended") or "") for run in report.found.runs), default=""),
    )


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
