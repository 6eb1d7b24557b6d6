"""One module for each scenario: `measure(arena, plan)` returns its runs, a dictionary of figures for each."""
