"""From a torch model to an exact integer workload; torch is imported only where a graph is made."""
