"""Data sets: manifests and readers, group-disjoint splits, and what is made from them."""
