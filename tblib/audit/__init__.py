"""The audit: one file per chapter of the fifth notebook, and the services that they share."""
