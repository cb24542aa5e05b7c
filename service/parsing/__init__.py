"""Strangers' files in, schema and tensors out; only the child process ever opens one."""

from __future__ import annotations

from service.parsing.parser import Parser
from service.parsing.result import Parsed

__all__ = ["Parsed", "Parser"]
