"""A name moves to where a target is served: what is now, what is to be done, and the way back."""

from tagboat.cutover.end import CutoverError, End, end_of
from tagboat.cutover.move import Move, go_back, move
from tagboat.cutover.state import Cutover, look
from tagboat.cutover.steps import Step, steps

__all__ = ["Cutover", "CutoverError", "End", "Move", "Step", "end_of", "go_back", "look", "move", "steps"]
