"""HTTP: what a request may look like, which action it means, and how the answer is written."""
