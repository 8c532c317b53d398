"""Networks and whole flows that run: `intaglio demo`, the tests and the benchmarks use them."""
