"""Entry point of ``python -m growloop.cli``."""

from .main import main

if __name__ == "__main__":
    main(prog_name="growloop")
