"""Everything that talks to PostgreSQL. psycopg is imported in this folder and nowhere else."""
