"""What a schedule does: cycles, stalls, bytes, and the comparison with the RTL."""
