"""Train, measure and export the embedded language model; outside the package, since only its weights ship."""
