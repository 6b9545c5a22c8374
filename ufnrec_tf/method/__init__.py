"""UFNRec: the training step (`model.py`) and its parts, which do not know each other.

The words of the method, with the symbols of arXiv 2208.04116 where it has one:

- transition: a user and a place in the user's history, one (input, next item) pair of the
  training data: one row of the memory.
- candidate: an item scored at a transition; column 0 holds the positive, the others N negatives.
- remembered: kept by the memory for the next visit, because it outscored the positive.
- shown: remembered, and placed among this visit's negatives.
- count: how often an item was shown at a transition.
- patience, m: an item whose count is above it is a suspect.
- suspect: a candidate whose count is above m, probably a false negative.
- flip: a suspect gets label 1 instead of 0 for the step.
- teacher: the exponential moving average of the student's weights, with decay d.
- consistency: the term, weighted by alpha, that draws the student's score of a flip to the
  teacher's.
- gate: decides when memory and teacher start; open, it stays open.
- look (`ufnrec_safe`): one pass in which the teacher scores the candidates of a batch and the
  memory counts those above the positive.
"""
