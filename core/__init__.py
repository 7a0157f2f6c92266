"""Ground floor: what several floors need. Standard library and numpy alone."""
