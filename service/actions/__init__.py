"""The use cases, as plain functions: views, tasks and the command line call them, and no other."""
