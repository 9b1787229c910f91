"""Where a source is: addresses as users write them, read by us, so that no driver is handed a user's string."""
