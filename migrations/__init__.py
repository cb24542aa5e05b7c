"""The schema's history, packaged with the service: ``python -m service.store.migrate`` applies it.

Migrations run under the old code: expand first, contract in a later release. A batch alteration on
SQLite drops the table's triggers silently: call ``migrations.triggers.create`` after it.
"""
