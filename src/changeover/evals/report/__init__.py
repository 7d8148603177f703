"""What a comparison is told as: one record, read back from the store, and its forms for people and machines."""
