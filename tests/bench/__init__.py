"""Speed and size, each measured beside its limit in the same run: `python -m tests.bench [name …]`.

Ratios are what counts; absolute times say more about the machine than about the program.
"""
