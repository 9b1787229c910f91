"""What a query asks for: where `:last_pull` stands in a source's own language, and what the text may not say."""
