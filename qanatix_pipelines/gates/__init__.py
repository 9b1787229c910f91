"""How much of an answer is let in at a time, where a driver would take all that comes."""
