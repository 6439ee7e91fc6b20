"""The documentation: Markdown pages, what generates the others, and what Sphinx is given."""
