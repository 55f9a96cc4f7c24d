"""PostgreSQL: tables, migrations and the statements that more than one service uses."""
