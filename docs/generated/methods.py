"""docs/methods.md: the tables of the registry, with links to the cards."""

__all__ = ["page"]

INTRODUCTION = """# The methods

Each is one flag on top of plain fine-tuning. The cards say what a method computes, its settings
as far as they are published, what to mind, its cost, and where it differs from the code that its
authors released. `rxf methods` prints the same in a terminal.

"""


def page() -> str:
    """The page, as Markdown."""
    import rxf  # noqa: F401  (registers what the tables are read off)
    from rxf.lab.methods import tables

    # The tables' links begin at the root, and this page lies one folder below it.
    return INTRODUCTION + tables.markdown().replace("](rxf/", "](../rxf/")
