"""What came out, as text and JSON."""
