"""How a stimulus is sought: objective, penalties, constraint, parametrization, record, step."""
