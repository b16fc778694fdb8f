"""What a month of a component costs, on each target and as it was done before."""
