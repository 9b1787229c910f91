"""What a source's values become: JSON text, or what a Polars frame holds exactly."""
