"""Choices: spaces, objectives, strategies, and studies that remember what they evaluated."""
