"""`rxf sweep`: methods x tasks x seeds, as a Hydra multirun of ``fairseq-hydra-train``.

resolvers   arithmetic in YAML
groups      fairseq's config groups, in full
grid        what is asked for, checked
config      the same as Hydra's configs
one_run     a run of it: config file, command, folder
app         the Hydra app
launch      the app's process, one progress bar
command     the command line

Each imports only from those above it.
"""

from rxf.lab.sweep.command import add_arguments, parse, run

__all__ = ["add_arguments", "parse", "run"]
