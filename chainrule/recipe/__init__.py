"""From data to numbers and back: the part of a model that is not the network."""

from __future__ import annotations

from chainrule.recipe.recipe import Recipe
from chainrule.recipe.split import Split

__all__ = ["Recipe", "Split"]
