"""The module of the keeper."""


def keep(secret):
    return len(secret) > 0
