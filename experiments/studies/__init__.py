"""The figures of the assignment's questions: each has ``rows_of(results)``, a table, and ``draw(rows, path)``."""
