"""Training that is killed, and what becomes of it: ``python -m tests.faults --help``.

subjects   what is trained: every method of the registry, on tiny data
starts     one start of a training: begun, watched, killed, and what its log says
plans      which faults a training meets, and when: drawn from a seed
chains     a training from fault to fault to its end, and its uninterrupted twin
equality   whether two folders of checkpoints hold the same
command    all of them, one after the other, into a file; goes on where it was stopped

``faulty_plugin`` is the user dir of these trainings, which brings about what cannot be done from
outside.  ``results`` holds what the command has found.
"""
