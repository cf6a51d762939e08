"""``python -m serve_app`` is ``spheroserve``."""

from serve_app.cli import main

main()
