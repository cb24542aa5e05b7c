"""The HTTP client of a chainrule service."""

from chainrule.client.client import Client
from chainrule.client.resources import FINAL_STATES, Dataset, Job, Model

__all__ = ["FINAL_STATES", "Client", "Dataset", "Job", "Model"]
