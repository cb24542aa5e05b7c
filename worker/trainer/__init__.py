"""The process that trains or predicts: one job, a pipe, no database, no network, no secrets.

It imports ``chainrule`` and numpy only.  It speaks to its supervisor in frames:

- to it: ``train`` or ``predict`` once, then ``committed`` {step, cost_s} and ``stop`` {reason};
- from it: ``ready``, ``started``, ``unit``, ``progress``; last ``done``, ``stopped``, ``failed``,
  or ``full`` where the disk has no room for what it needs.
"""
