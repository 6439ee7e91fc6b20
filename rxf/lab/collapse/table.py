"""The result for a person: one line a checkpoint, the last layer in figures."""

from typing import Any

__all__ = ["table"]

COLUMNS = {
    "mlm_bits": ("MLM bits", "{:.3f}"),
    "forgotten_bits": ("forgotten", "{:+.3f}"),
    "forgotten_bits_error": ("+-", "{:.3f}"),
    "cka": ("CKA", "{:.4f}"),
    "cosine": ("cosine", "{:.4f}"),
    "effective_rank": ("eff. rank", "{:.1f}"),
    "anisotropy": ("anisotropy", "{:.4f}"),
    "weight_distance": ("distance", "{:.3f}"),
    "weight_distance_relative": ("relative", "{:.4f}"),
}


def table(rows: list[dict[str, Any]]) -> str:
    """Of the rows of ``probe.json``: of each layer's measures, those of the last layer."""
    last = max((row["layer"] for row in rows if row["layer"] is not None), default=None)
    cells: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["layer"] in (None, last) and row["measure"] in COLUMNS:
            cells.setdefault(row["checkpoint"], {})[row["measure"]] = row["value"]
    shown = [m for m in COLUMNS if any(m in values for values in cells.values())]
    lines = [["checkpoint", *(COLUMNS[measure][0] for measure in shown)]]
    for name, values in cells.items():
        lines.append([name, *(_cell(measure, values) for measure in shown)])
    return _aligned(lines)


def _cell(measure: str, values: dict[str, float]) -> str:
    return COLUMNS[measure][1].format(values[measure]) if measure in values else "-"


def _aligned(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
