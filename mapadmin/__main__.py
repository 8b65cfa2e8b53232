"""`python -m mapadmin`, for machines where the script is not on PATH."""

from mapadmin.cli import main

main()
