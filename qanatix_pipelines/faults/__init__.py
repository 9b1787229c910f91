"""What a source's errors mean for the caller of a pull, in our own sentences and by closed lists of codes."""
