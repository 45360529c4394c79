"""Generate the text that ships with the package as its built-in corpus."""
