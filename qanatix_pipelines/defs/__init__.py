"""What Dagster sees: assets, jobs, resources, sensors. Dagster is imported here and in `definitions`, nowhere else."""
