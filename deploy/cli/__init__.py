"""The command line client: a user of the REST API and of nothing else."""
