"""The columns of a table as features: numbers, categories, dates; each fitted and plain JSON."""

from __future__ import annotations

from chainrule.recipe.columns.category import CategoryColumn
from chainrule.recipe.columns.cells import Problems
from chainrule.recipe.columns.datetime import DatetimeColumn
from chainrule.recipe.columns.fitting import (
    Column,
    dropping,
    fit_column,
    refit_column,
    resolved,
)
from chainrule.recipe.columns.number import NumberColumn, NumberTable
from chainrule.recipe.columns.translating import key_translation, translation

__all__ = [
    "CategoryColumn",
    "Column",
    "DatetimeColumn",
    "NumberColumn",
    "NumberTable",
    "Problems",
    "dropping",
    "fit_column",
    "key_translation",
    "refit_column",
    "resolved",
    "translation",
]
