"""The paper's studies: each plans its cells, runs those not finished, and reports records."""
