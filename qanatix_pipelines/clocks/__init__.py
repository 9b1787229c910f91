"""How far a snapshot reaches, by the source's own clock."""
