"""``python -m rxf.lab.sweep``: the Hydra app, by a module that nothing else imports."""

from rxf.lab.sweep.app import main

main()
