"""The pictures of a report: seeds, cost against quality, and the probes' figures.

``style.py``   colours, frames, and a figure as PNG
``seeds.py``   every run as a point, or their density: strips and violins
``cost.py``    what an update costs against what it brings
``lines.py``   scores over steps, cycles or layers
``groups.py``  scores of many tasks side by side
``album.py``   which pictures a report has

Figures are made without pyplot, which would keep them in a global list and choose a
window system.
"""

from rxf.lab.report.pictures.album import album
from rxf.lab.report.pictures.style import Picture

__all__ = ["Picture", "album"]
