"""One update through fairseq's own trainer: stock fairseq and rxf, peers side by side.

    python -m benchmarks.training_step --json FILE --picture FILE
    python -m benchmarks.training_step --model roberta_large --lengths sst2 --batch 32 \\
        --precision fp16,bf16,amp
    python -m benchmarks.training_step --model bart_base --grow batch,length,vocabulary,size
    python -m benchmarks.training_step --quick

Each peer has a process of its own, since a stock fairseq and one with the plugin cannot share
one: stock peers import nothing of rxf, which is checked.  All processes are set up and warmed
up first; then they take turns round by round, all cores (or the GPU) being the one's whose turn
it is, the others asleep.  Each has the same batches, made by fairseq's own iterator from random
words of the lengths asked for, and the same random weights; a turn is an update with each batch.
Ratios are taken within a round.

Memory is the peak of an update above what the process held before the model was built.  On a
GPU it comes from the same processes; on a CPU from others, whose allocator is told to give back
what is freed at once: that costs time.

The parts of an update are timed in a pass of their own: see ``parts.py``.  Operations of torch,
views left out, are counted in another: on a GPU each is a launch or a few.
"""
