"""How runs are started: warm, by a worker that has loaded what they need and forks itself, and which at once."""
