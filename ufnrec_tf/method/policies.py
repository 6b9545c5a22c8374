"""Policies: the treatment of suspects, and the table of their names."""

from typing import NamedTuple


class Policy(NamedTuple):
    """A treatment of false negatives.

    Attributes:
        remembers: Hard negatives are remembered and shown again.
        finds_suspects: An item with a count above `memory.patience` becomes a suspect.
        flips: A suspect gets label 1 for the step.
        removes: A suspect is left out of the loss for the step.
        is_softened: A suspect's label is softened by the teacher (the consistency term).
        is_random: As many negatives are flipped as there are suspects, but fresh draws.
        is_lasting: A suspect stays one: it is left out at every visit while its count is above the
            patience, drawn afresh or remembered, rather than only in its first step as a suspect.
        is_safe: Memory, teacher and flips are those of `safe_flips`.
        has_soft_labels: A part of each target is given to the items of `soft_labels`.
    """

    remembers: bool
    finds_suspects: bool = False
    flips: bool = False
    removes: bool = False
    is_softened: bool = False
    is_random: bool = False
    is_lasting: bool = False
    is_safe: bool = False
    has_soft_labels: bool = False

    @property
    def has_teacher(self) -> bool:
        """True if the policy averages the student's weights: the EMA teacher."""
        return self.is_softened or self.is_safe or self.has_soft_labels


POLICIES: dict[str, Policy] = {
    "plain": Policy(remembers=False),
    "replay": Policy(remembers=True),
    "remove": Policy(remembers=True, finds_suspects=True, removes=True),
    "flip": Policy(remembers=True, finds_suspects=True, flips=True),
    "ufnrec": Policy(remembers=True, finds_suspects=True, flips=True, is_softened=True),
    "random": Policy(remembers=True, finds_suspects=True, flips=True, is_random=True),
    "neutral": Policy(remembers=True, finds_suspects=True, removes=True, is_lasting=True),
    "ufnrec_safe": Policy(remembers=True, finds_suspects=True, is_safe=True),
    "ufnrec_soft": Policy(remembers=False, has_soft_labels=True),
}
"""`plain` is training without a memory. `ufnrec_soft` has none either; the others remember.
`ufnrec` is the paper's (section 3); `random` is its control; `ufnrec_safe` and `ufnrec_soft` are
ours. What removing, flipping, softening and soft labels mean to a loss stands with the losses.
`plain` was once called `keep`; see `config.OLDER_VALUES`."""
