"""Whether many writers that are killed, on a store that fails, lose, double or reorder anything."""
