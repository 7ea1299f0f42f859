"""`python -m amends.console`, where no script is installed."""

from amends.console.main import main

main(prog_name="amends")
