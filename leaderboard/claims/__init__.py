"""The paper's claims: what they compare, and what the records say of each."""
