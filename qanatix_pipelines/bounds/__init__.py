"""How much a server may make a driver hold or work, where the driver itself takes whatever it is told."""
