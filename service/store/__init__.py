"""The store: tables, transactions, blobs, and the guarded transitions of a job."""
