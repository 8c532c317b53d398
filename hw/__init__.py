"""What silicon offers: RTL, devices and the drivers of outside tools; knows no network."""
