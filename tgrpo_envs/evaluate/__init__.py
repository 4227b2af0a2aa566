"""Any policy on LIBERO's tasks: many episodes side by side, counted with intervals, kept as they finish."""
