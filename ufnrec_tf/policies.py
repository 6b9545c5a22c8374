"""What is done with a negative that was remembered too often: the table of policies."""

from typing import NamedTuple


class Policy(NamedTuple):
    """How false negatives are treated.

    Attributes:
        remembers: Hard negatives are remembered and shown again.
        ripens: An entry counted more than `memory.patience` times becomes a suspect.
        flips: A suspect gets label 1 for the step.
        removes: A suspect is left out of the loss for the step.
        is_softened: A suspect's label is softened by the teacher (the consistency term).
    """

    remembers: bool
    ripens: bool
    flips: bool
    removes: bool
    is_softened: bool


POLICIES: dict[str, Policy] = {
    "keep": Policy(False, False, False, False, False),
    "replay": Policy(True, False, False, False, False),
    "remove": Policy(True, True, False, True, False),
    "flip": Policy(True, True, True, False, False),
    "ufnrec": Policy(True, True, True, False, True),
}
"""`keep` is plain training; the others remember. `ufnrec` is the paper's (section 3)."""
