"""The part that repeats: the training loop and what surrounds it.

It knows "a module that returns a loss and a dict" and "an iterable of batches", and nothing of LEWEL.
"""
