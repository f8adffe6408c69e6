"""A campaign against the promise of the whole project, seeded and bounded.

Whatever is broken, killed, full or hostile, a command gives a right result, or one sentence that names the file, and
an exit code. `make campaign` runs it large, the tests small.

harms: what can happen to bytes and text. doors: whatever reads a file. verdicts: what a good answer is. crew: processes
with a time limit in which the cases run. kinds: all that is tried. `python -m campaign --kind K --seed S` repeats one.
"""
