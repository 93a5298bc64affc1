"""The state: documents in commits of hidden refs, published by compare-and-swap. The only home of pygit2."""
