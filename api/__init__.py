"""Functions of the package, one for each job; ``import growloop`` has them all.

The command line calls these functions. Each checks its input, runs, and returns a result that is a
table: ``to_pandas()``, ``to_dict()``, HTML in notebooks and, where there is something to draw,
``chart()``.
"""
