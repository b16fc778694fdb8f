"""The engines, each the program of a process; `bench.db.program` describes what they answer."""
