"""The settings of the GLUE recipes as a table of Markdown."""

from collections.abc import Iterable

from rxf.lab.recipes.glue import Recipe, recipes
from rxf.lab.recipes.glue_settings import METHODS, SOURCES
from rxf.lab.recipes.settings import Setting

__all__ = ["markdown"]

# Columns that every recipe has; of the rest a row names what a method has for itself.
COLUMNS = {
    "lr": "lr",
    "total_num_update": "updates",
    "warmup_updates": "warm-up",
    "weight_decay": "decay",
}
OWN = ("r3f_", "noise_type", "eps", "spectral_", "freelb_", "recadam_", "component_")
UNSAID = "†"


def markdown() -> str:
    """Sources, then a table a method."""
    parts = [_sources()]
    for name, method in METHODS.items():
        of_method = [recipe for recipe in recipes() if recipe.name == name]
        parts.append(
            f"**{name}**: {method.summary}; settings of {method.model}.\n\n{_table(of_method)}"
        )
    return "\n\n".join(parts) + "\n"


def _sources() -> str:
    lines = [
        f"* [{name}] {source.text}: {source.certainty}."
        for name, source in SOURCES.items()
        if name != "rxf"
    ]
    return "\n".join([*lines, f"* {UNSAID} unknown; the value is ours, and the script says why."])


def _table(of_method: Iterable[Recipe]) -> str:
    rows = [_row(recipe) for recipe in of_method]
    head = ["task", *COLUMNS.values(), "batch", "own", "from"]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _row(recipe: Recipe) -> list[str]:
    settings = recipe.settings
    own = [name for name in settings if name.startswith(OWN) and _is_of_method(recipe, name)]
    told = ", ".join(f"{_short(name)} {_cell(settings[name])}".rstrip() for name in own) or "–"
    names = dict.fromkeys(s.source for s in settings.values() if s.is_known and s.source != "rxf")
    return [
        f"[{recipe.task.name}]({recipe.stem}.sh)",
        *(_cell(settings[name]) for name in COLUMNS),
        _batch(recipe),
        told,
        ", ".join(names) or "ours",
    ]


def _is_of_method(recipe: Recipe, name: str) -> bool:
    """r3f_lambda 0 is how plain fine-tuning is spelt, and so no setting."""
    return not (name == "r3f_lambda" and recipe.settings[name].source == "rxf")


def _batch(recipe: Recipe) -> str:
    """Sentences x accumulation x processes."""
    parts = [recipe.settings[name] for name in ("batch_size", "update_freq", "processes")]
    return " x ".join(_cell(setting) for setting in parts)


def _short(name: str) -> str:
    for prefix in ("r3f_", "freelb_", "recadam_anneal_", "recadam_", "component_"):
        name = name.removeprefix(prefix)
    return name.replace("spectral_norm_classification_head", "normalised head").replace("_", " ")


def _cell(setting: Setting) -> str:
    value = setting.value
    shown = "" if value is True else f"{value:g}" if isinstance(value, float) else str(value)
    shown = shown.replace("e-0", "e-")
    return shown if setting.is_known else f"{shown}{UNSAID}"
