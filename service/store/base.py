"""What every table is made of."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Double, Integer, LargeBinary, MetaData, Text
from sqlalchemy.orm import DeclarativeBase

__all__ = ["Base", "Json"]

Json = JSON(none_as_null=True)
Whole = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER keys count up in SQLite
NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """What every table shares: names of constraints, and the types behind the annotations."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map: ClassVar = {
        str: Text(),
        int: Whole,
        float: Double(),
        bytes: LargeBinary(),
        dict[str, Any]: Json,
    }
