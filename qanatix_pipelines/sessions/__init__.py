"""What is set for a pull's own session, by database: what would cut or end a result, and nothing else."""
